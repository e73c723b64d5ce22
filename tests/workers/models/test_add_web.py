"""Models at a URL: resumed, pinned, and refused before all of them is there."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from diffusion.files import digest
from tests.workers.models.conftest import Command
from tests.workers.models.server import Site, files_of, site_running
from tests.workers.models.test_formats import packed

PATH = "/models/tiny.tar"


@pytest.fixture
def archive(site: Site, tiny: Path, tmp_path: Path) -> str:
    """Serve the tiny model's archive; return its digest."""
    expected = packed(tiny, tmp_path / "tiny.tar")
    site.files[PATH] = (tmp_path / "tiny.tar").read_bytes()
    return expected


def add(command: Command, site: Site, archive: str, *words: str) -> "tuple[int, str]":
    said = command("add", site.url + PATH, "--sha256", archive, "--no-check", *words)
    return said.code, said.out + said.err


def test_an_archive_is_fetched_and_is_the_model(
    command: Command, site: Site, archive: str, tiny: Path
) -> None:
    code, said = add(command, site, archive)
    assert code == 0, said
    assert digest(command.models / "tiny") == digest(tiny)
    assert command.names() == ["tiny"]
    assert f"{site.url}{PATH}" in said
    site.files.clear()
    assert add(command, site, archive)[0] == 0, "what is there already needs no server"


def test_what_broke_off_goes_on_where_it_was(command: Command, site: Site, archive: str) -> None:
    site.cuts[PATH] = [1000, 2000]
    assert add(command, site, archive)[0] == 0
    ranges = [headers.get("range") for headers in site.requests(PATH)]
    assert ranges == [None, "bytes=1000-", "bytes=3000-"]
    assert all("if-range" in headers for headers in site.requests(PATH)[1:])


def test_the_next_command_goes_on_where_it_was(command: Command, site: Site, archive: str) -> None:
    site.cuts[PATH] = [5000] + [0] * 20
    code, said = add(command, site, archive)
    assert code == 1
    assert "broke off after 5 kB" in said
    assert "the same command resumes it" in said
    assert command("installed").out.count("unfinished") == 1
    assert not (command.models / "tiny").exists()
    site.cuts.clear()
    site.asked.clear()
    assert add(command, site, archive)[0] == 0
    assert [headers["range"] for headers in site.requests(PATH)] == ["bytes=5000-"]
    assert command.names() == ["tiny"]


def test_what_broke_off_is_removed_when_asked(command: Command, site: Site, archive: str) -> None:
    site.cuts[PATH] = [5000] + [0] * 20
    assert add(command, site, archive)[0] == 1
    assert command("remove", "tiny").code == 0
    assert command.names() == []


def test_a_file_that_changed_meanwhile_is_begun_anew(
    command: Command, site: Site, archive: str, mine: Path, tmp_path: Path
) -> None:
    site.cuts[PATH] = [5000] + [0] * 20
    assert add(command, site, archive)[0] == 1
    (mine / "LICENSE").write_text("another")
    other = packed(mine, tmp_path / "other.tar")
    site.files[PATH] = (tmp_path / "other.tar").read_bytes()
    site.cuts.clear()
    assert add(command, site, other)[0] == 0
    assert (command.models / "tiny" / "LICENSE").exists()


@pytest.mark.parametrize("lacks", ["ranges", "tags"])
def test_a_server_without_ranges_or_tags_serves(
    command: Command, site: Site, archive: str, lacks: str
) -> None:
    setattr(site, lacks, False)
    site.cuts[PATH] = [5000]
    assert add(command, site, archive)[0] == 0


def test_a_busy_server_is_asked_again(command: Command, site: Site, archive: str) -> None:
    site.statuses[PATH] = [503, 429]
    assert add(command, site, archive)[0] == 0
    site.statuses[PATH] = [503] * 20
    assert "503" in add(command, site, archive, "--name", "m")[1]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_leaves_nothing(
    command: Command, site: Site, archive: str, status: int
) -> None:
    site.statuses[PATH] = [status]
    code, said = add(command, site, archive)
    assert code == 1
    assert str(status) in said
    assert len(site.requests(PATH)) == 1
    assert command.names() == []


def test_another_file_is_not_unpacked(command: Command, site: Site, archive: str) -> None:
    code, said = add(command, site, "0" * 64)
    assert code == 1
    assert f"has sha256 {archive}, not {'0' * 64}" in said
    assert command.names() == []


def test_a_pickle_is_refused_before_it_is_there(command: Command, site: Site) -> None:
    site.files["/m.ckpt"] = b"\x80\x02}" + b"\0" * 10**6
    site.files["/download/7"] = b"PK\x03\x04" + b"\0" * 10**6
    site.files["/gone"] = b"<html>log in</html>" * 10
    pin = ("--sha256", "0" * 64, "--name", "m")
    assert "a pickle" in command("add", f"{site.url}/m.ckpt", *pin).refusal
    assert site.asked == []
    assert "zip" in command("add", f"{site.url}/download/7", *pin).refusal
    assert "a web page" in command("add", f"{site.url}/gone", *pin).refusal
    assert command.names() == []


def test_http_has_to_be_pinned(command: Command, site: Site, archive: str) -> None:
    refusal = command("add", site.url + PATH).refusal
    assert "--sha256" in refusal
    assert site.asked == []
    assert "no https URL" in command("add", "ftp://example.org/m.tar").refusal


@pytest.mark.parametrize(
    "url", ["https://", "https://[", "https://a:99999/m", "https://a:x/m", "https:///m", "x://a/b"]
)
def test_what_is_no_url_is_refused(command: Command, url: str) -> None:
    assert command("add", url, "--name", "m").refusal
    assert command.names() == []


def test_a_redirect_that_leads_nowhere_is_refused(
    command: Command, site: Site, archive: str
) -> None:
    for target in (PATH, "ftp://127.0.0.1/m"):
        site.redirects[PATH] = target
        code, said = add(command, site, archive)
        assert (code, "sfumato: " in said) == (1, True)
        assert command.names() == []
        assert len(site.asked) < 20


def test_keys_go_to_no_record_and_no_message(command: Command, site: Site, archive: str) -> None:
    host = urlsplit(site.url).netloc
    url = f"http://user:hidden@{host}{PATH}?token=secret"
    said = command("add", url, "--sha256", archive, "--no-check")
    assert said.code == 0, said.err
    kept = (command.models / "tiny" / "added.json").read_text()
    for text in (said.out, said.err, kept):
        assert "secret" not in text
        assert "hidden" not in text
    assert site.requests(PATH)[0]["authorization"].startswith("Basic ")


def test_a_redirect_to_another_host_gets_no_password(
    command: Command, site: Site, archive: str
) -> None:
    with site_running() as other:
        other.files["/blob"] = site.files.pop(PATH)
        other.cuts["/blob"] = [4000]
        site.redirects[PATH] = f"{other.url.replace('127.0.0.1', 'localhost')}/blob"
        host = urlsplit(site.url).netloc
        said = command("add", f"http://u:p@{host}{PATH}", "--sha256", archive, "--no-check")
        assert said.code == 0, said.err
        assert len(other.requests("/blob")) == 2
        assert not any("authorization" in headers for headers in other.requests("/blob"))


def test_https_is_verified_and_does_not_lead_to_http(
    command: Command, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    nothing_is_left_open: None,
) -> None:  # fmt: skip
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    packed(tiny, tmp_path / "tiny.tar")
    with site_running(tls) as secure, site_running() as plain:
        secure.files[PATH] = plain.files[PATH] = (tmp_path / "tiny.tar").read_bytes()
        secure.redirects["/down.tar"] = plain.url + PATH
        url = secure.url + PATH
        refused = command("add", url, "--no-check").refusal
        assert "certificate" in refused.lower()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        said = command("add", url, "--no-check")
        assert said.code == 0, said.err
        refusal = command("add", f"{secure.url}/down.tar", "--name", "d").refusal
        assert "leads to http://" in refusal


def test_a_download_that_was_killed_is_resumed(command: Command, site: Site, archive: str) -> None:
    site.holds[PATH] = 5000
    words = ["add", site.url + PATH, "--sha256", archive, "--no-check"]
    command.killed_at(5000, *words)
    site.released.set()
    assert "unfinished" in command("installed").out
    assert "neither a folder nor an installed model" in command("check", "tiny").refusal
    assert command(*words).code == 0
    assert site.requests(PATH)[1]["range"] == "bytes=5000-"
    assert command.names() == ["tiny"]


@pytest.mark.parametrize("failure", ["404", "cut", "killed", "digest", "pickle"])
def test_a_replacement_that_does_not_come_leaves_the_model(
    command: Command, site: Site, archive: str, tiny: Path, failure: str
) -> None:
    assert command("add", tiny, "--no-check").code == 0
    before = files_of(command.models / "tiny")
    words = ["add", f"{site.url}{PATH}", "--sha256", archive, "--no-check", "--replace"]
    if failure == "404":
        site.statuses[PATH] = [404]
    elif failure == "cut":
        site.cuts[PATH] = [5000] + [0] * 20
    elif failure == "digest":
        words[words.index(archive)] = "0" * 64
    elif failure == "pickle":
        site.files[PATH] = b"\x80\x02}" + b"\0" * 10**5
    if failure == "killed":
        site.holds[PATH] = 5000
        command.killed_at(5000, *words)
        site.released.set()
    else:
        assert command(*words).refusal
    assert files_of(command.models / "tiny") == before
    assert str(tiny) in command("installed").out
    assert command("check", "tiny", "--files-only").code == 0
