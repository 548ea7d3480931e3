"""@modelcontextprotocol/server-filesystem: all tools, structured output, roots that change."""

import re

from tests.interop.steps import ROOTS, Rule, Scenario, Step, answer, call, listing

INSIDE = "<work>/inside"
ALSO = "<work>/also"
POEM = "first line\nsecond line, ünïcödé\nthird line\n"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ROOT = {"uri": f"file://{INSIDE}", "name": "inside"}
OTHER_ROOT = {"uri": f"file://{ALSO}", "name": "also"}
EDIT = {"oldText": "second line, ünïcödé", "newText": "another line"}

STEPS: list[Step] = [
    Step("ping", expect={ROOTS: 1}),
    listing("list_tools", "list_allowed_directories"),
    # The server takes over the roots some time after it has received them.
    call("list_allowed_directories", until="inside", says="inside"),
    call("create_directory", {"path": f"{INSIDE}/deep/er"}, says="Successfully created"),
    call("write_file", {"path": f"{INSIDE}/poem.txt", "content": POEM}, says="Successfully wrote"),
    call("write_file", {"path": f"{INSIDE}/deep/note.md", "content": "# note"}, says="Successfully wrote"),
    call("read_file", {"path": f"{INSIDE}/poem.txt"}, says="ünïcödé"),
    call("read_text_file", {"path": f"{INSIDE}/poem.txt", "head": 1}, says="first line"),
    call("read_text_file", {"path": f"{INSIDE}/poem.txt", "tail": 2}, says="third line"),
    call("read_media_file", {"path": f"{INSIDE}/pixel.png"}, says=PIXEL),
    call("read_media_file", {"path": f"{INSIDE}/blob.bin"}, says='"blob"'),
    call(
        "read_multiple_files",
        {"paths": [f"{INSIDE}/poem.txt", f"{INSIDE}/none", f"{INSIDE}/deep/note.md"]},
        says="ENOENT",
    ),
    call("edit_file", {"path": f"{INSIDE}/poem.txt", "edits": [EDIT], "dryRun": True}, says="+another line"),
    call("edit_file", {"path": f"{INSIDE}/poem.txt", "edits": [EDIT]}, says="+another line"),
    call("read_text_file", {"path": f"{INSIDE}/poem.txt"}, says="another line"),
    call("list_directory", {"path": INSIDE}, says="[DIR] deep"),
    call("list_directory_with_sizes", {"path": INSIDE, "sortBy": "size"}, says="Combined size"),
    call("directory_tree", {"path": INSIDE, "excludePatterns": ["*.bin"]}, says="note.md"),
    call(
        "move_file",
        {"source": f"{INSIDE}/deep/note.md", "destination": f"{INSIDE}/deep/er/moved.md"},
        says="Successfully moved",
    ),
    call("search_files", {"path": INSIDE, "pattern": "**/*.md"}, says="moved.md"),
    call("get_file_info", {"path": f"{INSIDE}/poem.txt"}, says="permissions"),
    call("read_text_file", {"path": f"{ALSO}/locked.txt"}, ends="tool error", says="Access denied"),
    answer(ROOTS, {"roots": [ROOT, OTHER_ROOT]}),
    Step("roots_changed", expect={ROOTS: 1}),
    call("list_allowed_directories", until="also", says="also"),
    call("read_text_file", {"path": f"{ALSO}/locked.txt"}, says="open now"),
    answer(ROOTS, error={"code": -32603, "message": "The user keeps the roots to himself"}),
    Step("roots_changed", expect={ROOTS: 1}),
    call("list_allowed_directories", says="also"),
    call("write_file", {"path": f"{INSIDE}/half"}, ends="tool error", says="-32602"),
    call("no_such_tool", ends="tool error", says="no_such_tool"),
    Step("ping"),
]

SCENARIO = Scenario(
    steps=STEPS,
    roots=(ROOT,),
    rules=(Rule("times of files", re.compile(r"(?m)^(created|modified|accessed): .+$"), r"\1: <time>"),),
)
