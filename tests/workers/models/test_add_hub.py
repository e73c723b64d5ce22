"""Repositories of the hub, against a server of ours that speaks as it does."""

import json
from hashlib import sha256
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import snapshot_download
from safetensors.torch import load_file, save_file

from diffusion.files import digest
from tests.diffusion.checkpoints import models, original
from tests.workers.models.conftest import Command
from tests.workers.models.server import COMMIT, Repo, Site, files_of
from workers.models.directory.record import read_record

REPO = "owner/tiny-model"
UNET = "unet/diffusion_pytorch_model.safetensors"
RESOLVED = f"/{REPO}/resolve/{COMMIT}/"


@pytest.fixture
def repo(site: Site, tiny: Path) -> Repo:
    """Serve the tiny model as a repository, with what such repositories hold beside it."""
    card = b"---\nlicense: openrail++\ntags: [x]\n---\n# Tiny"
    more = {
        "README.md": card, "LICENSE.md": b"terms", ".gitattributes": b"x",
        "tiny.ckpt": b"\x80\x02}" * 400, "tiny.safetensors": b"once more" * 400,
        "unet/diffusion_pytorch_model.bin": b"\x80\x02}" * 400,
        "unet/model.onnx": b"graph" * 400, "flax_model.msgpack": b"flax" * 400,
        "samples/1.png": b"picture",
    }  # fmt: skip
    site.repos[REPO] = Repo(files_of(tiny) | more)
    return site.repos[REPO]


def fetched(site: Site) -> set[str]:
    """Return the paths of the files that were downloaded."""
    asked = {path for verb, path, _ in site.asked if verb == "GET"}
    return {path.removeprefix(RESOLVED) for path in asked if "/resolve/" in path}


def test_the_server_speaks_as_the_hub_does(site: Site, repo: Repo, tmp_path: Path) -> None:
    """The library's own download is satisfied with it."""
    folder = snapshot_download(REPO, cache_dir=tmp_path, endpoint=site.url, max_workers=1)
    assert files_of(Path(folder)) == repo.files


def test_a_repository_is_added_without_what_no_model_needs(
    command: Command, site: Site, repo: Repo, tiny: Path
) -> None:
    said = command("add", f"hf:{REPO}", "--name", "mine")
    assert said.code == 0, said.err
    assert all(line.startswith(("downloading ", "trying it")) for line in said.err.splitlines())
    assert command.names() == ["mine"]
    folder = command.models / "mine"
    assert digest(folder) == digest(tiny)
    assert fetched(site) == {*files_of(tiny), "README.md", "LICENSE.md"}
    record = read_record(folder)
    assert (record.source, record.revision) == (f"hf:{REPO}", COMMIT)
    assert record.files[UNET].sha256 == sha256(repo.files[UNET]).hexdigest()
    for words in (f"hf:{REPO} at {COMMIT}", "LICENSE.md, openrail++ (README.md)",
                  "3 other weight files left out", "mine: torch on cpu"):  # fmt: skip
        assert words in said.out
    assert command("check", "mine").code == 0


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT, "refs/pr/4"])
def test_a_revision_is_resolved(command: Command, site: Site, repo: Repo, revision: str) -> None:
    repo.revisions = ("v1.0", "refs/pr/4", "main")
    said = command("add", f"hf:{REPO}@{revision}", "--no-check")
    assert said.code == 0, said.err
    assert f"hf:{REPO}@{revision} at {COMMIT}" in said.out
    assert command.names() == ["tiny-model"]


def test_a_token_is_sent_to_the_hub_alone(
    command: Command, site: Site, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.token = "hf_right"
    refusal = command("add", f"hf:{REPO}").refusal
    assert "is gated: accept its conditions on the hub (set HF_TOKEN)" in refusal
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    repo.refusal = (403, "GatedRepo")
    refusal = command("add", f"hf:{REPO}").refusal
    assert "the account of HF_TOKEN has no access yet" in refusal
    repo.refusal = (401, "RepoNotFound")
    assert "or private" in command("add", f"hf:{REPO}").refusal
    repo.refusal = (403, "Forbidden")
    assert "refuses (403; HF_TOKEN)" in command("add", f"hf:{REPO}").refusal
    assert command.names() == []
    assert fetched(site) == set()
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    said = command("add", f"hf:{REPO}", "--no-check")
    assert said.code == 0, said.err
    assert "hf_right" not in said.out + said.err
    assert "hf_right" not in (command.models / "tiny-model" / "added.json").read_text()


def test_what_is_not_there_is_named(
    command: Command, site: Site, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "hf:owner/other is not on" in command("add", "hf:owner/other").refusal
    assert f"hf:{REPO} has no revision v9" in command("add", f"hf:{REPO}@v9").refusal
    assert "has no x.safetensors" in command("add", f"hf:{REPO}/x.safetensors").refusal
    assert "is a pickle" in command("add", f"hf:{REPO}/tiny.ckpt").refusal
    for text in ("hf:", "hf:one", "hf:a/../b", "hf:a/b/../c.safetensors", "hf:a/b@", "hf:a/b@../x"):
        assert "is not hf:OWNER/NAME" in command("add", text).refusal, text
    del repo.files["model_index.json"]
    refusal = command("add", f"hf:{REPO}").refusal
    assert f"has no model_index.json; it holds tiny.safetensors: hf:{REPO}/FILE" in refusal
    site.statuses[f"/api/models/{REPO}"] = [500]
    assert "answers 500; try again" in command("add", f"hf:{REPO}").refusal
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in command("add", f"hf:{REPO}").refusal
    assert command.names() == []


def test_pickles_alone_are_refused_by_name(command: Command, site: Site, repo: Repo) -> None:
    del repo.files[UNET]
    refusal = command("add", f"hf:{REPO}").refusal
    assert "unet has its weights in diffusion_pytorch_model.bin, a pickle, alone" in refusal
    assert fetched(site) == {"model_index.json"}
    del repo.files["unet/diffusion_pytorch_model.bin"]
    repo.files["unet/model.gguf"] = b"GGUF" * 400
    del repo.files["unet/model.onnx"]
    assert "in model.gguf (GGUF) alone" in command("add", f"hf:{REPO}").refusal
    assert command.names() == []


def test_a_repository_that_leads_out_of_the_folder_is_refused(
    command: Command, site: Site, repo: Repo
) -> None:
    repo.files["../../outside.json"] = b"{}"
    assert "a path out of it" in command("add", f"hf:{REPO}").refusal
    assert fetched(site) == set()


def test_what_a_worker_refuses_is_refused_before_its_weights_come(
    command: Command, site: Site, repo: Repo
) -> None:
    config = json.loads(repo.files["unet/config.json"])
    repo.files["unet/config.json"] = json.dumps(config | {"in_channels": 9}).encode()
    assert "unet/config.json" in command("add", f"hf:{REPO}").refusal
    assert not any(path.endswith(".safetensors") for path in fetched(site))
    assert command.names() == []


def test_a_repository_that_lacks_a_part_is_refused_before_its_weights_come(
    command: Command, site: Site, repo: Repo, tiny: Path
) -> None:
    parts = {part: ["diffusers", "X"] for part in ("unet", "vae", "text_encoder")}
    index = {"_class_name": "StableDiffusionPipeline", **parts}
    repo.files["model_index.json"] = json.dumps(index).encode()
    for path in [path for path in repo.files if path.startswith("vae/")]:
        del repo.files[path]
    refusal = command("add", f"hf:{REPO}").refusal
    assert f"hf:{REPO} lacks vae (X): give one with --vae" in refusal
    assert fetched(site) == {"model_index.json"}
    said = command("add", f"hf:{REPO}", "--vae", tiny, "--no-check")
    assert said.code == 0, said.err
    assert (command.models / "tiny-model" / "vae" / "config.json").exists()


def test_one_variant_is_downloaded(
    command: Command, site: Site, repo: Repo, tiny: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.safetensors"
    save_file({name: each.half() for name, each in load_file(tiny / UNET).items()}, half)
    fp16 = "unet/diffusion_pytorch_model.fp16.safetensors"
    repo.files[fp16] = half.read_bytes()
    said = command("add", f"hf:{REPO}", "--variant", "fp16")
    assert said.code == 0, said.err
    assert fp16 in fetched(site)
    assert UNET not in fetched(site)


@pytest.mark.parametrize("times", [1, 40])
def test_a_connection_cut_in_the_middle_is_resumed(
    command: Command, site: Site, repo: Repo, tiny: Path, times: int
) -> None:
    """Within the command, or by the next one where it stays away."""
    site.cuts[RESOLVED + UNET] = [1500] + [0] * (times - 1)
    said = command("add", f"hf:{REPO}", "--no-check")
    if times > 1:
        assert "broke off after 1.5 kB" in said.refusal
        assert "unfinished" in command("installed").out
        site.cuts.clear()
        site.asked.clear()
        assert command("add", f"hf:{REPO}", "--no-check").code == 0
        assert not any(path.endswith(".json") for path in fetched(site)), "they are there"
    assert site.requests(RESOLVED + UNET)[-1]["range"] == "bytes=1500-"
    assert digest(command.models / "tiny-model") == digest(tiny)
    assert command.names() == ["tiny-model"]


def test_a_kill_in_the_middle_is_resumed(
    command: Command, site: Site, repo: Repo, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    site.holds[RESOLVED + UNET] = 50_000  # more than is written at once
    words = ["add", f"hf:{REPO}", "--no-check"]
    command.killed_at(50_000, *words)
    site.released.set()
    assert command.names() == [".adding"]
    assert command(*words).code == 0
    assert site.requests(RESOLVED + UNET)[1]["range"] == "bytes=50000-"
    assert digest(command.models / "tiny-model") == digest(tiny)


def test_a_revision_that_moved_is_downloaded_anew(command: Command, site: Site, repo: Repo) -> None:
    site.cuts[RESOLVED + UNET] = [1500] + [0] * 40
    assert command("add", f"hf:{REPO}", "--no-check").code == 1
    repo.commit = "1" * 40
    assert command("add", f"hf:{REPO}", "--no-check").code == 0
    assert read_record(command.models / "tiny-model").revision == "1" * 40
    assert command.names() == ["tiny-model"]


def test_other_bytes_than_the_hub_lists_are_refused(
    command: Command, site: Site, repo: Repo
) -> None:
    listed = repo.files[UNET]
    site.files[RESOLVED + UNET] = listed[:-1] + bytes([listed[-1] ^ 1])
    refusal = command("add", f"hf:{REPO}", "--no-check").refusal
    assert f"has sha256 {sha256(site.files[RESOLVED + UNET]).hexdigest()}, not" in refusal
    assert command.names() == []


def test_a_password_of_the_hub_is_not_sent_on(
    command: Command, site: Site, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files come from another host, with links that are signed."""
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    repo.token = "hf_right"
    site.files["/blob"] = repo.files[UNET]
    site.redirects[RESOLVED + UNET] = f"{site.url.replace('127.0.0.1', 'localhost')}/blob"
    assert command("add", f"hf:{REPO}", "--no-check").code == 0
    assert "authorization" in site.requests(RESOLVED + UNET)[0]
    assert "authorization" not in site.requests("/blob")[0]


def test_offline_means_offline(
    command: Command, site: Site, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert "HF_HUB_OFFLINE is set" in command("add", f"hf:{REPO}").refusal
    assert site.asked == []


def test_one_file_of_a_repository_is_converted(
    command: Command, site: Site, repo: Repo, tmp_path: Path
) -> None:
    file = models.write_file(tmp_path / "x.safetensors", models.SD1)
    repo.files["sub/tiny-v1.safetensors"] = file.read_bytes()
    said = command("add", f"hf:{REPO}/sub/tiny-v1.safetensors@main", "--no-check")
    assert said.code == 0, said.err
    assert command.names() == ["tiny-v1"]
    assert fetched(site) == {"sub/tiny-v1.safetensors"}
    assert sha256(file.read_bytes()).hexdigest() in said.out
    record = read_record(command.models / "tiny-v1")
    assert record.source == f"hf:{REPO}/sub/tiny-v1.safetensors@main"
    assert record.revision == COMMIT


def test_a_refusal_that_another_option_mends_keeps_the_download(
    command: Command, site: Site, repo: Repo, tmp_path: Path
) -> None:
    tensors = models.tiny(models.SD1)
    whole = tensors.tensors()
    bare = {n: t for n, t in whole.items() if not n.startswith("first_stage_model.")}
    repo.files["bare.safetensors"] = original.write(tmp_path / "b", bare).read_bytes()
    refusal = command("add", f"hf:{REPO}/bare.safetensors", "--no-check").refusal
    assert "--vae" in refusal
    assert "the download is kept for another try" in refusal
    assert command.names() == [".adding"]
    site.asked.clear()
    vae = original.write(tmp_path / "v.safetensors", original.vae(tensors.vae, ""))
    words = ("add", f"hf:{REPO}/bare.safetensors", "--no-check", "--vae", vae)
    assert command(*words).code == 0
    assert fetched(site) == set()
    assert command.names() == ["bare"]


def test_a_digest_pins_the_model(command: Command, site: Site, repo: Repo, tiny: Path) -> None:
    wrong = command("add", f"hf:{REPO}", "--no-check", "--sha256", "0" * 64)
    assert f"has sha256 {digest(tiny)}" in wrong.refusal
    assert command.names() == []
    assert command("add", f"hf:{REPO}", "--no-check", "--sha256", digest(tiny)).code == 0
    site.asked.clear()
    again = command("add", f"hf:{REPO}", "--no-check", "--sha256", digest(tiny))
    assert "it was installed already" in again.out
    assert site.asked == []


@pytest.mark.parametrize("times", [40, 1])
def test_a_model_is_replaced_once_all_of_its_successor_is_there(
    command: Command, site: Site, repo: Repo, tiny: Path, times: int
) -> None:
    words = ("add", f"hf:{REPO}", "--no-check", "--replace", "--name", "mine")
    assert command("add", tiny, "--no-check", "--name", "mine").code == 0
    before = files_of(command.models / "mine")
    site.cuts[RESOLVED + UNET] = [1500] + [0] * (times - 1)
    said = command(*words)
    if times > 1:
        assert "broke off after 1.5 kB" in said.refusal
        assert files_of(command.models / "mine") == before
        assert command("check", "mine", "--files-only").code == 0
        site.cuts.clear()
        said = command(*words)
    assert said.code == 0, said.err
    assert read_record(command.models / "mine").source == f"hf:{REPO}"
    assert command.names() == ["mine"]
