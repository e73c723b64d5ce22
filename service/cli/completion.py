"""``sfumato completion``: shell completion of commands and options."""

from typing import Annotated, Literal

import typer
from typer._completion_classes import completion_init
from typer._completion_shared import get_completion_script

PROGRAM = "sfumato"
VARIABLE = "_SFUMATO_COMPLETE"  # by which a shell asks for completions

init = completion_init
"""Makes the command line answer a shell that asks for completions."""


def completion_command(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Your shell.")],
) -> None:
    """Print the script that makes your shell complete commands and options.

    bash: add `eval "$(sfumato completion bash)"` to ~/.bashrc

    zsh: add `eval "$(sfumato completion zsh)"` to ~/.zshrc, after `compinit`

    fish: run `sfumato completion fish >~/.config/fish/completions/sfumato.fish`
    """
    asked = {"prog_name": PROGRAM, "complete_var": VARIABLE, "shell": shell}
    print(get_completion_script(**asked))
