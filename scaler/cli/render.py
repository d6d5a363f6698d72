"""`celery-scaler render`: the Kubernetes documents that follow from a policy."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from scaler.api.address import AddressError, parse_address
from scaler.policyfile import PolicyError, load_directory_or_file
from scaler.render import HEADER, RenderError, Service
from scaler.render import render as render_files

#: The answer is no: the folder holds something else.
DIFFERENT = 1
#: A policy that can't be used, or a folder that can't be written.
UNUSABLE = 2


def render(
    *,
    policies: Annotated[
        Path, typer.Option(envvar="SCALER_POLICIES", help="A policy file, or a folder of them.")
    ],
    scaler_address: Annotated[
        str,
        typer.Option(
            help="host:port of the service as KEDA reaches it, such as celery-scaler.NAMESPACE.svc:9090."
        ),
    ],
    environment: Annotated[
        str | None, typer.Option(envvar="SCALER_ENVIRONMENT", help="Overlay of the policies to apply.")
    ] = None,
    trigger_authentication: Annotated[
        str | None,
        typer.Option(
            help="TriggerAuthentication of the namespace with KEDA's client certificate: switches TLS on."
        ),
    ] = None,
    cluster_trigger_authentication: Annotated[
        str | None, typer.Option(help="The same with a ClusterTriggerAuthentication, for all namespaces.")
    ] = None,
    worker_container: Annotated[
        str, typer.Option(help="Name of the container that runs Celery in the workers' pods.")
    ] = "worker",
    output: Annotated[
        str, typer.Option(help="Folder to write a kustomize component to; - prints its documents.")
    ] = "-",
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if the folder isn't what would be written.")
    ] = False,
) -> None:
    """Make ScaledObjects, workers' settings and the admission policy's names from policies.

    The same policies give the same bytes. Exit status: 0 fine, 1 with --check where the folder
    differs, 2 a policy that can't be used or a folder that can't be written.
    """
    if check and output == "-":
        _fail("--check compares with a folder; name it with --output")
    if trigger_authentication and cluster_trigger_authentication:
        _fail(
            "--trigger-authentication and --cluster-trigger-authentication exclude each other: a trigger"
            " refers to one; keep the namespaced one where each namespace has a certificate of its own"
        )
    try:
        parse_address(scaler_address)
    except AddressError:
        _fail(
            f"--scaler-address {scaler_address!r} isn't host:port;"
            " write for example celery-scaler.NAMESPACE.svc:9090"
        )
    try:
        loaded = load_directory_or_file(policies, environment or None, os.environ)
        files = render_files(
            loaded,
            Service(
                scaler_address,
                trigger_authentication or cluster_trigger_authentication or None,
                worker_container,
                cluster_wide=bool(cluster_trigger_authentication),
            ),
        )
    except PolicyError as error:
        for diagnostic in error.diagnostics:
            typer.echo(str(diagnostic), err=True)
        raise typer.Exit(UNUSABLE) from None
    except RenderError as error:
        _fail(str(error))
    if output == "-":
        documents = (text for name, text in files.items() if name != "kustomization.yaml")
        typer.echo("---\n".join(documents), nl=False)
        return
    try:
        if check:
            _compare(Path(output), files)
        else:
            _write(Path(output), files)
    except OSError as error:
        _fail(f"{error.filename or output}: {(error.strerror or type(error).__name__).lower()}")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files, and remove those of an earlier run whose class is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _ours(folder) - files.keys():
        (folder / name).unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _compare(folder: Path, files: Mapping[str, str]) -> None:
    present = _ours(folder)
    differences = [f"{name} belongs to no class any more" for name in sorted(present - files.keys())]
    for name, text in files.items():
        path = folder / name
        if not path.exists():
            differences.append(f"{name} is missing")
        elif path.read_text(encoding="utf-8") != text:
            differences.append(f"{name} differs")
    for difference in differences:
        typer.echo(f"{folder}: {difference}", err=True)
    if differences:
        typer.echo("render again without --check and commit what it writes", err=True)
        raise typer.Exit(DIFFERENT)


def _ours(folder: Path) -> set[str]:
    """Names of the files in the folder that a run has written; a missing folder has none."""
    return {
        path.name
        for path in folder.glob("*.yaml")
        if path.read_text(encoding="utf-8", errors="replace").startswith(HEADER)
    }


def _fail(message: str) -> NoReturn:
    typer.echo(f"celery-scaler render: {message}", err=True)
    raise typer.Exit(UNUSABLE)
