"""The recipes do what they say, on a real stack."""

import re
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest
from PIL import Image

from service.client.async_client import AsyncSfumato
from service.client.client import Sfumato
from service.processes.ports import free_port
from tests.bundles import tiny_bundle
from tests.deploy.tools import documents, only, rendered
from tests.processes import PATIENCE_S
from tests.recipes.snippets import ADDRESS, RECIPES, Shell, commands, exports, page
from tests.stack.up import Up
from workers.settings import DEFAULT_MODEL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def opened(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def test_every_recipe_is_short_listed_and_tested() -> None:
    names = {path.stem for path in RECIPES.glob("*.md")} - {"README"}
    listed = re.findall(r"\]\(([\w-]+)\.md\)", (RECIPES / "README.md").read_text())
    assert sorted(listed) == sorted(names)
    tested = re.findall(r'\bpage\("([\w-]+)"\)', Path(__file__).read_text())
    assert set(tested) == names
    for name in names:
        assert len((RECIPES / f"{name}.md").read_text().splitlines()) < 60, name


def test_progress(shell: Shell) -> None:
    (program,) = page("progress").python
    longer = program.replace("num_inference_steps=30", "num_inference_steps=200")
    assert longer != program, "its events would be looked for too late on a busy machine"
    said = shell.python(longer).stdout.splitlines()
    assert said[-1].startswith("step 400 of 400")
    assert [opened(shell.folder / f"apple-{seed}.png") for seed in (7, 8)] == [(64, 64)] * 2
    assert max(opened(shell.folder / "preview.webp")) <= 64


@pytest.mark.full
def test_a_batch_that_is_killed_draws_nothing_twice(shell: Shell) -> None:
    (program,), (command,) = page("batch").python, page("batch").sh
    (shell.folder / "batch.py").write_text(program.replace("night-1", "night-2"))
    prompts = [f"a red apple, {number}" for number in range(60)]
    (shell.folder / "prompts.txt").write_text("\n".join([*prompts, prompts[0], ""]))
    with Sfumato(shell.url) as sfumato:
        before = {job.id for job in sfumato.jobs(limit=100).jobs}
        first = shell.start(command)
        pictures = shell.folder / "pictures"
        while not list(pictures.glob("*.png")):
            assert first.poll() is None, first.communicate()[0]
            sleep(0.01)
        first.kill()
        first.communicate()
        assert len(list(pictures.glob("*.png"))) < len(prompts)
        shell.sh(command)
        jobs = [job for job in sfumato.jobs(limit=100).jobs if job.id not in before]
    assert len(jobs) == len(list(pictures.glob("*.png"))) == len(prompts)
    assert {str(job.request.priority) for job in jobs} == {"low"}
    assert not list(pictures.glob("*.part"))


def test_webhooks_reach_the_receiver_and_forged_ones_do_not(shell: Shell) -> None:
    recipe = page("webhooks")
    receiver, submission = recipe.python
    (shell.folder / "receiver.py").write_text(receiver)
    port = free_port()
    running = shell.start(recipe.sh[0].replace("9000", str(port)), PYTHONUNBUFFERED="1")
    assert running.stdout is not None
    try:
        for line in running.stdout:
            if "running on" in line:
                break
        job = shell.python(submission.replace("9000", str(port))).stdout.strip()
        for line in running.stdout:
            if line.startswith("succeeded"):
                assert line.split()[1] == job
                break
        headers = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
        url = f"http://127.0.0.1:{port}/sfumato"
        forged = httpx.post(url, json={}, headers=headers, timeout=PATIENCE_S)
        assert forged.status_code == 401
    finally:
        running.terminate()
        running.communicate()


async def test_chat_bot_edits_its_reply(shell: Shell) -> None:
    bot, discord = page("chat-bot").python
    compile(discord, "discord", "exec")  # its library needs an account

    class Kept:
        def __init__(self) -> None:
            self.edits: list[tuple[str, bytes | None]] = []

        async def edit(self, text: str, picture: bytes | None = None, name: str = "") -> None:
            self.edits.append((text, picture))

    names = {"__name__": "bot"}
    exec(bot.replace("PAUSE_S = 2.0", "PAUSE_S = 0.0"), names)
    reply, refused = Kept(), Kept()
    draw = dict[str, object](names)["draw"]
    assert callable(draw)
    async with AsyncSfumato(shell.url) as sfumato:
        await draw(sfumato, "a red apple", "ann", reply)
        await draw(sfumato, "a" * 5000, "ann", refused)
    assert re.match("Number [0-9]+ in the queue", reply.edits[0][0])
    assert reply.edits[-1][0].startswith("a red apple, seed ")
    assert reply.edits[-1][1]
    assert any(re.search(r"\(step [0-9]+\)", text) for text, _ in reply.edits[1:-1])
    assert [text[:6] for text, _ in refused.edits] == ["Sorry:"]


def test_interactive(shell: Shell) -> None:
    (program,) = page("interactive").python
    longer = program.replace("num_inference_steps=500", "num_inference_steps=1000")
    longer = longer.replace("deadline_s=60", "deadline_s=600").replace("= 2.0", "= 0.5")
    *shown, last = shell.python(longer).stdout.splitlines()
    step, of = re.findall(r"[0-9]+", last)
    assert 0 < int(step) < int(of) == 1000
    assert all(re.fullmatch("show [0-9]+ bytes", line) for line in shown)
    assert opened(shell.folder / "apple.png") == (64, 64)
    with pytest.raises(AssertionError, match=r"busy: try again, the wait is [0-9]+ s"):
        shell.python(program.replace("deadline_s=60", "deadline_s=0.001"))


def test_programs_of_other_apis_draw_by_their_address_alone(shell: Shell) -> None:
    recipe = page("switch")
    variables = exports("".join(recipe.sh), shell.url)
    assert len(variables) == 4
    for program in recipe.python:
        shell.python(program, **variables)
    names = sorted(path.name for path in shell.folder.glob("*.png"))
    assert names == ["automatic1111.png", "hugging-face.png", "openai.png", "replicate.png"]
    assert {opened(shell.folder / name) for name in names} == {(64, 64)}


@pytest.mark.full
@pytest.mark.timeout(600)
def test_own_model(tmp_path: Path) -> None:
    recipe = page("own-model")
    add, up, worker, remove = recipe.sh
    tiny_bundle(tmp_path / "my-model")
    installed = Shell(tmp_path, SFUMATO_MODELS=str(tmp_path / "models"))
    installed.sh(add)
    stack = Up(
        tmp_path / "var", tmp_path / "none", *commands(up)[0][2:], "--door", "uvicorn",
        models=tmp_path / "models",
    )  # fmt: skip
    try:
        shell = Shell(tmp_path, stack.ready(), SFUMATO_MODELS=str(tmp_path / "models"))
        said = shell.python(recipe.python[0]).stdout
        assert said.startswith("mine 32 32 ")
        assert opened(tmp_path / "mine.png") == (32, 32)
        redis = (stack.data / "redis-url").read_text().strip()
        own = shell.start(worker.replace("redis://redis:6379/0", redis), OMP_NUM_THREADS="1")
        try:
            with Sfumato(shell.url) as sfumato:
                deadline = monotonic() + 100
                while len(sfumato.workers()) < 2:
                    assert own.poll() is None, own.communicate()[0]
                    assert monotonic() < deadline
                    sleep(0.1)
        finally:
            own.terminate()
            own.communicate()
        installed.sh(remove)
    finally:
        stack.end()


@pytest.mark.full
def test_tenants(tmp_path: Path) -> None:
    recipe = page("tenants")
    up, keys = recipe.sh
    (words,) = commands(up)
    assert words == ["SFUMATO_AUTH=keys", "sfumato", "up"]
    stack = Up(tmp_path / "var", DEFAULT_MODEL, "--door", "uvicorn", auth="keys")
    try:
        shell = Shell(tmp_path, stack.ready())
        assert (tmp_path / "var" / "operator-key").read_text().startswith("sfu_")
        said = shell.sh(keys).stdout
        (key,) = set(re.findall(r"sfu_\w+", said))
        said = shell.python(recipe.python[0], SFUMATO_API_KEY=key).stdout
        assert [line.split()[0] for line in said.splitlines()] == [
            "quota_exceeded",
            "larger_than_quota",
        ]
        assert opened(tmp_path / "apple.png") == (64, 64)
    finally:
        stack.end()


@pytest.mark.needs("helm")
def test_scale_to_zero(shell: Shell) -> None:
    recipe = page("scale-to-zero")
    signal, install = recipe.sh
    ((*curl, address),) = commands(signal)
    assert curl == ["curl", "-s"]
    answer = httpx.get(address.replace(ADDRESS, shell.url), timeout=PATIENCE_S)
    assert answer.json()["model"] == "emoji"
    (values,) = recipe.yaml
    (shell.folder / "values.yaml").write_text(values)
    helm, kubectl = commands(install)
    assert helm[:5] == ["helm", "upgrade", "--install", "sfumato", "deploy/helm/sfumato"]
    assert helm[-2:] == ["-f", "values.yaml"]
    assert kubectl[3:] == ["get", "scaledobjects,deployments"]
    manifest = documents(rendered(shell.folder / "values.yaml"))
    assert "RayService" not in {document["kind"] for document in manifest}
    scaled = only(manifest, "ScaledObject", "sfumato-worker-emoji")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (0, 8)
    assert scaled["cooldownPeriod"] == 600
    assert scaled["triggers"][0]["metadata"]["targetValue"] == "60"
