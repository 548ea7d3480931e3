"""@modelcontextprotocol/server-memory: all tools, one resource, its subscription."""

from tests.interop.steps import UPDATED, Json, Scenario, Step, call, listing, read

GRAPH = "memory://knowledge-graph"
ADA: Json = {"name": "Ada", "entityType": "person", "observations": ["wrote notes"]}
ENGINE: Json = {"name": "Engine", "entityType": "machine", "observations": ["is analytical", "机器"]}
KNOWS: Json = {"from": "Ada", "to": "Engine", "relationType": "programs"}


def change(name: str, arguments: Json, says: str) -> Step:
    """A change that a subscriber is told."""
    return call(name, arguments, says=says, expect={UPDATED: 1})


STEPS: list[Step] = [
    Step("ping"),
    listing("list_tools", "open_nodes"),
    listing("list_resources", GRAPH),
    call("read_graph", says='"entities": []'),
    call("create_entities", {"entities": [ADA]}, says="wrote notes"),
    read(GRAPH, says="Ada"),
    Step("subscribe", {"uri": GRAPH}),
    change("create_entities", {"entities": [ENGINE]}, says="机器"),
    change("create_relations", {"relations": [KNOWS]}, says="programs"),
    change(
        "add_observations",
        {"observations": [{"entityName": "Ada", "contents": ["likes numbers"]}]},
        says="addedObservations",
    ),
    call(
        "add_observations",
        {"observations": [{"entityName": "Nobody", "contents": ["is missing"]}]},
        ends="tool error",
        says="Entity with name Nobody not found",
    ),
    call("search_nodes", {"query": "numbers"}, says="likes numbers"),
    call("open_nodes", {"names": ["Engine"]}, says="is analytical"),
    change(
        "delete_observations",
        {"deletions": [{"entityName": "Ada", "observations": ["wrote notes"]}]},
        says="deleted successfully",
    ),
    change("delete_relations", {"relations": [KNOWS]}, says="deleted successfully"),
    Step("unsubscribe", {"uri": GRAPH}),
    # Nobody is told of this one.
    call("delete_entities", {"entityNames": ["Engine"]}, says="deleted successfully"),
    call("read_graph", says="likes numbers"),
    call("create_entities", {"entities": "not a list"}, ends="tool error", says="-32602"),
    read("memory://none", ends="error", says="-32602"),
    Step("ping"),
]

SCENARIO = Scenario(steps=STEPS)
