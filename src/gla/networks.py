"""Names of an agent's networks, of which there is one for each training seed."""


def network(name: str) -> tuple[str, int]:
    """Returns the agent that a network belongs to, and its number. Network 0 has the agent's name, and network k is called NAME.k."""
    agent, _, number = name.partition(".")
    return agent, int(number or 0)
