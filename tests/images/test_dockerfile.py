"""A Dockerfile of the user's, with the settings mounted in its steps."""

from __future__ import annotations

import pytest

from samovar.errors import ImageBuildError
from samovar.images import dockerfile
from samovar.images.settings import HostSettings

M = (
    "--mount=type=bind,from=s:1,source=/host,target=/run/samovar-host "
    "--mount=type=bind,from=s:1,source=/links,target=/run/samovar-links"
)
ENV = ". /run/samovar-host/env; "


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("FROM x\n", "FROM x\n"),
        ("RUN make\n", f"RUN {M} {ENV}make\n"),
        ("run make", f"run {M} {ENV}make"),
        ("  RUN  make\n", f"  RUN {M}  {ENV}make\n"),
        ('RUN ["make", "x"]\n', f'RUN {M} ["make", "x"]\n'),
        (
            "RUN --network=none --mount=type=tmpfs,target=/x make\n",
            f"RUN {M} --network=none --mount=type=tmpfs,target=/x {ENV}make\n",
        ),
        ("RUN --network=none \\\n  make\n", f"RUN {M} --network=none \\\n  {ENV}make\n"),
        ("RUN a && \\\n  # why\n\n  RUN=1 b\nCOPY x y\n", f"RUN {M} {ENV}a && \\\n  # why\n\n  RUN=1 b\nCOPY x y\n"),
        ("# RUN a\n\nRUN b\n", f"# RUN a\n\nRUN {M} {ENV}b\n"),
        ("COPY <<EOF /x\nRUN not\nEOF\nRUN b\n", f"COPY <<EOF /x\nRUN not\nEOF\nRUN {M} {ENV}b\n"),
        ("RUN <<'EOF'\nRUN not\nEOF\nRUN b\n", f"RUN {M} <<'EOF'\nRUN not\nEOF\nRUN {M} {ENV}b\n"),
        ("LABEL RUN=x\nRUNNER x\n", "LABEL RUN=x\nRUNNER x\n"),
    ],
)
def test_every_run_sees_the_settings(text, becomes):
    assert dockerfile.with_settings(text, "s:1") == becomes


def test_the_digest_covers_the_folder_that_is_sent(tmp_path):
    file = tmp_path / "Dockerfile"
    file.write_text("FROM x\n")
    (tmp_path / ".dockerignore").write_text("*.log\n")

    def tag(platform: str = "") -> str:
        return dockerfile.order(file, "tea-dockerfile", platform, "s:1").tag

    first = tag()
    assert first.startswith("samovar/tea-dockerfile:")
    (tmp_path / "a.log").touch()
    assert tag() == first
    (tmp_path / "a.txt").touch()
    second = tag()
    file.write_text("FROM y\n")
    (tmp_path / "b.txt").touch()
    assert len({first, second, tag(), tag("linux/arm64")}) == 4


def test_other_settings_make_no_other_image(tmp_path):
    file = tmp_path / "Dockerfile"
    file.write_text("FROM x\nRUN make\n")
    assert dockerfile.order(file, "d", "", "s:1").tag == dockerfile.order(file, "d", "", "s:2").tag


def test_settings_are_named_by_what_they_say():
    one, two = (
        dockerfile.settings_order(HostSettings({}, {"PIP_INDEX_URL": url})) for url in ("https://a", "https://b")
    )
    assert one.tag != two.tag


def test_a_dockerfile_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ImageBuildError, match=r"Dockerfile .*/none cannot be read"):
        dockerfile.order(tmp_path / "none", "d", "", "s:1")
