"""``sfumato completion``: what makes a shell complete commands and options."""

from typing import Annotated, Literal

import typer
from typer._completion_classes import completion_init
from typer._completion_shared import get_completion_script

PROGRAM = "sfumato"
VARIABLE = "_SFUMATO_COMPLETE"  # by which a shell asks for completions

init = completion_init
"""Lets the command line answer a shell that asks."""


def completion_command(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Your shell.")],
) -> None:
    """Print the script with which a shell completes commands and options.

    bash: put `eval "$(sfumato completion bash)"` into ~/.bashrc

    zsh: put `eval "$(sfumato completion zsh)"` into ~/.zshrc, after `compinit`

    fish: `sfumato completion fish >~/.config/fish/completions/sfumato.fish`
    """
    asked = {"prog_name": PROGRAM, "complete_var": VARIABLE, "shell": shell}
    print(get_completion_script(**asked))
