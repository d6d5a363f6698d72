"""What the service and the tools call: text, file or folder → policies, or every fault at once."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from scaler.core.policy import ScalingPolicy
from scaler.policyfile.conflicts import conflicts
from scaler.policyfile.diagnostics import Diagnostic, PolicyError, PolicyPathError
from scaler.policyfile.documents import Document, View
from scaler.policyfile.syntax import MAX_BYTES

#: Endings of policy files in a folder; others (a schema, notes) may lie beside them.
SUFFIXES = (".yaml", ".yml")


def load_policy(
    text: str | bytes, *, file: str, environment: str | None, env: Mapping[str, str]
) -> ScalingPolicy:
    """The policy in a text.

    Args:
        text: a policy file; bytes are UTF-8.
        file: what messages call it.
        environment: whose overlay is laid over the spec; None for no overlay.
        env: variables for `${VAR}`.

    Raises:
        PolicyError: with all faults of the file as this environment sees it.
    """
    view = Document.parse(text, file).view(environment, env)
    if view.policy is None:
        raise PolicyError(view.diagnostics)
    return view.policy


def load_directory_or_file(
    path: Path, environment: str | None, env: Mapping[str, str]
) -> dict[str, ScalingPolicy]:
    """The policies in a file or a folder by their names, which together make sense.

    Reads files and takes tens of milliseconds for each: not for the event loop.

    Raises:
        PolicyPathError: there is nothing to read.
        PolicyError: with all faults of all files.
    """
    documents, faults = read_documents(path)
    views = [document.view(environment, env) for document in documents]
    faults += [diagnostic for view in views for diagnostic in view.diagnostics]
    faults += between(views)
    if faults:
        raise PolicyError(faults)
    return {view.policy.metadata.name: view.policy for view in views if view.policy}


def between(views: Iterable[View]) -> list[Diagnostic]:
    """The faults that policies have only together."""
    return [finding.diagnostic(view.file) for view, finding in conflicts(views)]


def read_documents(path: Path) -> tuple[list[Document], list[Diagnostic]]:
    """The documents of a file or folder, and the faults of those that are none.

    Raises:
        PolicyPathError: there is nothing to read.
    """
    documents: list[Document] = []
    faults: list[Diagnostic] = []
    for file in policy_files(path):
        try:
            documents.append(Document.parse(_read(file), str(file)))
        except PolicyError as error:
            if file == path and isinstance(error, PolicyPathError):
                raise
            faults += error.diagnostics
    return documents, faults


def policy_files(path: Path) -> list[Path]:
    """The file itself, or the policy files of a folder, sorted.

    A mounted ConfigMap is a folder of symlinks into `..data`, a symlink too that is swapped at
    each update: links are followed, and names with a dot in front are passed over.

    Raises:
        PolicyPathError: no such file or folder, or a folder without policies.
    """
    if not path.is_dir():
        return [path]
    try:
        files = sorted(
            file
            for file in path.iterdir()
            if file.suffix in SUFFIXES and not file.name.startswith(".") and not file.is_dir()
        )
    except OSError as error:
        raise _unreadable(path, error) from error
    if not files:
        message = f"no policy in this folder; put a file there whose name ends in {' or '.join(SUFFIXES)}"
        raise PolicyPathError([Diagnostic(str(path), 1, 1, message)])
    return files


def _read(file: Path) -> bytes:
    try:
        if file.exists() and not file.is_file():
            raise PolicyPathError([Diagnostic(str(file), 1, 1, "not a file that can be read; remove it")])
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(path: Path, error: OSError) -> PolicyPathError:
    reason = (error.strerror or type(error).__name__).lower()
    return PolicyPathError(
        [Diagnostic(str(path), 1, 1, f"can't be read: {reason}; check path and permissions")]
    )
