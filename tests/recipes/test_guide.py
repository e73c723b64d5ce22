"""The commands of the guide are ones that there are, as far as this machine can tell."""

import re
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from service.application import create_app
from service.settings import ServiceSettings
from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.engine.policy import Cost, compare
from tests.deploy.tools import documents, only, rendered, run
from tests.needs import path_of
from tests.recipes.snippets import ADDRESS, DOCS, ROOT, commands, page
from tests.service.cli.test_page import root

GUIDE = DOCS / "guide"
PAGES = ("production", "comparison")
COMMANDS = [
    words
    for name in PAGES
    for block in page(name, GUIDE).sh
    for words in commands(re.sub(r"\$\(.*?\)", "RANDOM", block))
]


def make(target: str) -> None:
    assert re.search(f"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def sfumato(name: str, *words: str) -> None:
    root().commands[name].make_context(name, list(words))  # raises on what it does not know


def python(option: str, module: str, *words: str) -> None:
    assert option == "-m"
    assert find_spec(module)
    assert module != "tests.benchmarks" or set(words) <= BENCHMARKS.keys()


def docker(compose: str, option: str, file: str, *words: str) -> None:
    assert (compose, option, words[0]) == ("compose", "-f", "--profile")
    services = yaml.safe_load((ROOT / file).read_text())["services"].values()
    assert words[1] in {profile for each in services for profile in each.get("profiles", ())}


def curl(option: str, url: str) -> None:
    path = url.removeprefix(ADDRESS)
    assert "get" in create_app(ServiceSettings()).openapi()["paths"][path]


def promtool(*words: str) -> None:
    assert words[:2] == ("check", "rules")
    assert (ROOT / words[2]).exists()


def helm(verb: str, name: str, chart: str, *words: str) -> None:
    assert (name, chart) == ("sfumato", "deploy/helm/sfumato")
    assert verb in ("install", "upgrade")
    assert words[:4] == ("-n", "sfumato", "-f", "values.yaml")


def kubectl(*words: str) -> None:
    assert "create" in words  # test_secrets_are_created runs them


CHECKS: dict[str, Callable[..., None]] = {
    "make": make, ".venv/bin/sfumato": sfumato, ".venv/bin/python": python, "docker": docker,
    "curl": curl, "promtool": promtool, "helm": helm, "kubectl": kubectl,
}  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_is_one(words: list[str]) -> None:
    program, *rest = [word for word in words if not re.match("SFUMATO_[A-Z]+=", word)]
    CHECKS[program](*rest)


def test_the_figures_are_those_of_the_benchmark() -> None:
    text = (GUIDE / "comparison.md").read_text()
    rows = re.findall(r"^\| ([\d.]+) ms \+ ([\d.]+) ms a row .*?\| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 2
    for fixed, row, shown in rows:
        found = compare(Cost(float(fixed) / 1000, float(row) / 1000), rows_per_tick=16)
        names = ("mean", "mean_of_whole_batches", "p99", "p99_of_whole_batches")
        assert shown.split(" | ") == [f"{found[name]:.2f}" for name in names]


@pytest.mark.needs("helm")
def test_the_chart_takes_the_values_before_and_after_the_upgrade(tmp_path: Path) -> None:
    (values,) = page("production", GUIDE).yaml
    (tmp_path / "values.yaml").write_text(values)
    (upgrade,) = (words for words in COMMANDS if words[:2] == ["helm", "upgrade"])
    changes = [words for option, words in pairwise(upgrade)
               if option == "--set"]  # fmt: skip
    for sets, tag in (("", "0.1.0"), (",".join(changes), "0.2.0")):
        manifest = documents(rendered(tmp_path / "values.yaml", sets=sets))
        door = only(manifest, "Deployment", "sfumato-door")["spec"]["template"]["spec"]
        worker = only(manifest, "Deployment", "sfumato-worker-mine")["spec"]["template"]["spec"]
        assert door["containers"][0]["image"] == f"registry.example.org/sfumato-door:{tag}"
        assert worker["containers"][0]["image"].endswith(f"/sfumato-worker:{tag}-gpu")
        only(manifest, "ScaledObject", "sfumato-worker-mine")


@pytest.mark.needs("kubectl")
def test_secrets_are_created_with_the_keys_that_the_chart_reads() -> None:
    made = {}
    for words in COMMANDS:
        if words[0] == "kubectl":
            outcome = run(path_of("kubectl"), *words[1:], "--dry-run=client", "-o", "yaml")
            assert outcome.returncode == 0, shlex.join(words) + outcome.stderr
            (document,) = documents(outcome.stdout)
            made[document["metadata"]["name"]] = list(document.get("data", ()))
    assert made == {"sfumato": [], "url-secrets": ["secrets"], "metrics-key": ["key"]}


@pytest.mark.needs("promtool")
def test_the_rules_are_valid() -> None:
    (words,) = (words for words in COMMANDS if words[0] == "promtool")
    assert run(path_of("promtool"), *words[1:]).returncode == 0
