"""What a build learns of this machine's networks and indexes."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from samovar.images import settings


@pytest.fixture
def home(tmp_path) -> dict[str, str]:
    """An environment with a home and nothing else; pip's files of the machine do not count."""
    return {"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}


def variables(found: settings.HostSettings) -> dict[str, str]:
    lines = str(found.files()["env"]).splitlines()
    return dict(shlex.split(line)[1].split("=", 1) for line in lines)


def test_a_machine_without_settings_gives_only_our_own(home):
    found = settings.gather(home)
    assert found == settings.HostSettings({}, {})
    assert variables(found)["UV_LINK_MODE"] == "copy"
    assert found.files(ours=False) == {"env": ""}
    assert not found.on_loopback


def test_proxies_are_build_arguments_and_not_in_the_folder(home):
    found = settings.gather({**home, "HTTP_PROXY": "http://u:p@proxy:1", "no_proxy": "here"})
    assert found.proxies == {"HTTP_PROXY": "http://u:p@proxy:1", "no_proxy": "here"}
    assert "proxy" not in str(found.files())


def test_indexes_of_pip_hold_for_uv_and_others_stay_behind(home):
    found = settings.gather(
        {
            **home,
            "PIP_INDEX_URL": "https://u:it's@one.invalid",
            "PIP_EXTRA_INDEX_URL": "https://two.invalid",
            "UV_INDEX_TEAM_PASSWORD": "x",
            "PIP_TARGET": "/elsewhere",
            "UV_CACHE_DIR": "/cache",
            "AWS_SECRET": "s",
        }
    )
    got = variables(found)
    assert got["PIP_INDEX_URL"] == got["UV_DEFAULT_INDEX"] == "https://u:it's@one.invalid"
    assert got["UV_INDEX"] == "https://two.invalid"
    assert got["UV_INDEX_TEAM_PASSWORD"] == "x"
    assert not {"PIP_TARGET", "UV_CACHE_DIR", "AWS_SECRET"} & set(got)


def test_the_folder_is_read_by_a_shell_as_it_was_meant(home):
    value = "https://u:it's $HOME `x`@one.invalid"
    text = str(settings.gather({**home, "PIP_INDEX_URL": value}).files()["env"])
    said = subprocess.run(["sh", "-c", f'{text}printf %s "$PIP_INDEX_URL"'], capture_output=True, text=True, check=True)
    assert said.stdout == value


def test_certificates_are_one_file_for_all_who_read_them(home, tmp_path):
    (tmp_path / "ca.pem").write_text("CA")
    found = settings.gather({**home, "SSL_CERT_FILE": "/nowhere.pem", "PIP_CERT": str(tmp_path / "ca.pem")})
    assert found.files()["ca.pem"] == tmp_path / "ca.pem"
    got = variables(found)
    for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        assert got[name] == "/run/samovar-host/ca.pem"
    assert "/run/samovar-host/ca.pem" in str(found.files()[got["APT_CONFIG"].rpartition("/")[2]])


def test_folders_of_packages_are_brought_along_and_those_that_are_not_there_left_out(home, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    found = settings.gather({**home, "PIP_FIND_LINKS": f"{wheels} https://links.invalid /nowhere file://{wheels}"})
    assert found.links == (wheels,)
    got = variables(found)
    assert got["PIP_FIND_LINKS"] == "/run/samovar-links/0 https://links.invalid /run/samovar-links/0"
    assert got["UV_FIND_LINKS"] == "/run/samovar-links/0,https://links.invalid,/run/samovar-links/0"


def test_files_of_pip_count_where_no_variable_says_otherwise(home, tmp_path):
    file = tmp_path / ".config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True)
    file.write_text(
        "[global]\nindex-url = https://one.invalid\nextra-index-url =\n  https://two.invalid\n  https://three.invalid\n"
        "[install]\ntrusted-host = one.invalid\n"
    )
    environ = {"HOME": home["HOME"]}
    got = variables(settings.gather(environ))
    assert got["UV_DEFAULT_INDEX"] == "https://one.invalid"
    assert got["PIP_EXTRA_INDEX_URL"] == "https://two.invalid https://three.invalid"
    assert got["UV_INSECURE_HOST"] == "one.invalid"
    assert variables(settings.gather({**environ, "PIP_INDEX_URL": "https://own.invalid"}))["UV_DEFAULT_INDEX"] == (
        "https://own.invalid"
    )
    file.write_text("no section\n")
    assert "PIP_TRUSTED_HOST" not in variables(settings.gather(environ))


def test_a_file_of_uv_is_brought_along(home, tmp_path):
    file = tmp_path / ".config" / "uv" / "uv.toml"
    file.parent.mkdir(parents=True)
    file.write_text("offline = true\n")
    found = settings.gather(home)
    assert found.files()["uv.toml"] == file
    assert variables(found)["UV_CONFIG_FILE"] == "/run/samovar-host/uv.toml"


@pytest.mark.parametrize(
    ("name", "value", "loopback"),
    [
        ("HTTPS_PROXY", "http://127.0.0.1:3128", True),
        ("PIP_INDEX_URL", "http://u:p@localhost/simple", True),
        ("UV_INDEX", "http://[::1]:80/", True),
        ("HTTPS_PROXY", "http://localhost.example:3128", False),
        ("NO_PROXY", "localhost,127.0.0.1", False),
    ],
)
def test_what_is_on_loopback_needs_the_machines_own_network(home, name, value, loopback):
    assert settings.gather({**home, name: value}).on_loopback == loopback
