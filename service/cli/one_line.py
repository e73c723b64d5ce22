"""Errors of the command line as one line that names what is wrong."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from jobs.errors import StartError
from jobs.telemetry.text import shown
from service.cli import completion
from service.cli.shared.encoding import escape_what_streams_lack
from service.cli.shared.exit_codes import ExitCode
from service.cli.shared.terminal import print_error


class OneLineErrors(TyperGroup):
    """The root of the commands: prints usage errors as it prints all others."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line and exit with its code: 2 after a usage error."""
        escape_what_streams_lack()
        completion.init()
        try:
            code = super().main(*arguments, **options | {"standalone_mode": False})
        except typer.TyperException as error:
            code = error.exit_code
            if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
                print(error.format_message(), file=sys.stderr)
            else:
                print_error(shown(error.format_message()))
        except StartError as error:
            code = ExitCode.FAILED
            print_error(shown(error))
        except typer.Abort:
            code = ExitCode.FAILED
            print_error("aborted")
        sys.exit(code if isinstance(code, int) else 0)
