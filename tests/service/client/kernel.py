"""A notebook of one cell, run as Jupyter runs it."""

import sys
from typing import Any

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook


class Watched(NotebookClient):  # type: ignore[misc]  # nbclient is not typed
    """Keeps what its cell shows while it runs."""

    def __init__(self, program: str) -> None:
        self.cell = new_code_cell(program)
        self.updates: list[str] = []
        super().__init__(new_notebook(cells=[self.cell]), timeout=60, kernel_name="python3")

    async def run(self) -> None:
        """Run the cell. Raises: CellExecutionError."""
        await self.async_execute(env={"PYTHONPATH": ":".join(sys.path)})

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Keep an update of what is shown."""
        if msg["msg_type"] == "update_display_data":
            self.updates.append(msg["content"]["data"]["text/html"])
        return super().process_message(msg, cell, cell_index)
