"""Names of an agent's networks, which are one for each training seed."""


def network(name: str) -> tuple[str, int]:
    """The agent that one of its networks belongs to, and its number: the first bears the agent's name, the k-th NAME.k."""
    agent, _, number = name.partition(".")
    return agent, int(number or 0)
