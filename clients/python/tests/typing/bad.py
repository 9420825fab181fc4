"""What is wrong: each line with `# wrong` must be an error of the type checker, and no other line."""

from agenterra_workflow_state import Client, Commit, SetState, WorkflowStateError


def blocking(client: Client, error: WorkflowStateError) -> None:
    client.set_state("s", "k", (1, 2))  # wrong
    client.set_state("s", "k", {1, 2})  # wrong
    client.set_state("s", "k", b"bytes")  # wrong
    client.set_state("s", "k", {1: "one"})  # wrong
    client.set_state("s", "k", 1j)  # wrong
    client.set_state("s", 7, 1)  # wrong
    client.set_state("s", "k", 1, 7)  # wrong
    client.set_state("s", "k", 1, if_revision="1")  # wrong
    client.save_session("s", None)  # wrong
    client.commit("s")  # wrong
    client.batch([SetState("s", "k", 1), "x"])  # wrong
    client.update("s", lambda: None)  # wrong
    for _ in client.get_session("s"):  # wrong
        pass
    Commit("s").increment("n", "1")  # wrong
    Commit("s").check("n")  # wrong
    error.reason = 7  # wrong
