"""mcp-server-git: all tools on a repository that the test makes, with every date fixed."""

from tests.interop.steps import Json, Scenario, Step, call, listing


def on_repo(name: str, arguments: Json | None = None, *, says: str = "", tool_error: bool = False) -> Step:
    ends = {"ends": "tool error"} if tool_error else {}
    return call(name, {"repo_path": "<work>/repo", **(arguments or {})}, says=says, **ends)


STEPS: list[Step] = [
    Step("ping"),
    listing("list_tools", "git_create_branch"),
    on_repo("git_status", says="modified:   readme.md"),
    on_repo("git_diff_unstaged", {"context_lines": 0}, says="+changed line"),
    on_repo("git_add", {"files": ["readme.md"]}, says="Files staged"),
    on_repo("git_diff_staged", says="+changed line"),
    on_repo("git_reset", says="All staged changes reset"),
    on_repo("git_commit", {"message": "nothing is staged"}, says="No changes staged", tool_error=True),
    on_repo("git_add", {"files": ["."]}, says="Files staged"),
    on_repo("git_commit", {"message": "Second, mit Umläuten"}, says="committed successfully with hash"),
    on_repo("git_log", {"max_count": 5}, says="Second, mit Umläuten"),
    on_repo("git_log", {"start_timestamp": "2031-01-01"}, says="Commit history"),
    on_repo("git_show", {"revision": "HEAD"}, says="+changed line"),
    on_repo("git_show", {"revision": "HEAD:readme.md"}, says="changed line"),
    on_repo("git_diff", {"target": "HEAD~1"}, says="+changed line"),
    on_repo("git_create_branch", {"branch_name": "topic"}, says="Created branch 'topic' from 'main'"),
    on_repo("git_create_branch", {"branch_name": "topic"}, says="already exists", tool_error=True),
    on_repo("git_checkout", {"branch_name": "topic"}, says="Switched to branch 'topic'"),
    on_repo("git_branch", {"branch_type": "local"}, says="* topic"),
    on_repo("git_branch", {"branch_type": "all", "contains": "HEAD"}, says="main"),
    on_repo("git_checkout", {"branch_name": "no-such-branch"}, says="no-such-branch", tool_error=True),
    on_repo("git_diff", {"target": "--output=stolen"}, says="cannot start with '-'", tool_error=True),
    call("git_status", {"repo_path": "<work>/elsewhere"}, ends="tool error", says="outside the allowed"),
    call("git_status", {}, ends="tool error", says="repo_path"),
    call("git_unknown", ends="error", says="-32602"),
    Step("ping"),
]

SCENARIO = Scenario(steps=STEPS)
