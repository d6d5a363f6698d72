"""The token file of `serve`: what can't work is said at the start, with status 2."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from scaler.api.bearer import Bearer, TokenError

REMEDY = (
    "write one line of 16 characters or more to a file, as `openssl rand -hex 24` does,"
    " or leave the option away"
)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "can't read FILE (--token-file): No such file or directory"),
        ("", "FILE (--token-file) is empty"),
        (" \n", "FILE (--token-file) is empty"),
        ("fifteen-letters\n", "the token in FILE (--token-file) has 15 characters, which can be guessed"),
        ("first-secret-token\nsecond", "FILE (--token-file) holds more than one line of printable ASCII"),
        (b"\xff\xfe" + b"x" * 30, "FILE (--token-file) isn't text"),
    ],
)
def test_the_service_doesnt_start_without_a_token_in_its_file(
    serve: Callable[..., Result], tmp_path: Path, content: str | bytes | None, fault: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    result = serve(token_file=file)

    assert result.exit_code == 2
    said = result.stderr.splitlines()[-1]
    assert said == f"celery-scaler serve: {fault.replace('FILE', str(file))}; {REMEDY}"
    assert "secret" not in said


def test_a_file_that_may_not_be_read_names_who_should(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("correct-horse-battery")
    file.chmod(0)
    before = os.geteuid()
    if before == 0:  # root reads everything
        os.seteuid(65534)
    try:
        with pytest.raises(TokenError) as caught:
            Bearer(file)
        asked = os.geteuid()
    finally:
        os.seteuid(before)

    assert str(caught.value) == (
        f"can't read {file} (--token-file): Permission denied; let user {asked} read it"
    )


def test_a_folder_is_no_token(serve: Callable[..., Result], tmp_path: Path) -> None:
    assert f"can't read {tmp_path} (--token-file): Is a directory; " in serve(token_file=tmp_path).stderr
