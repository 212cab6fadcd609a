"""The environments of this package, by their Gymnasium ids, and the backends that step environments. One line for each."""

from typing import NamedTuple

from gla.kinds import Kinds


class Own(NamedTuple):
    """The module and class of an environment, and the default number of steps after which its episodes end."""

    module: str
    name: str
    max_episode_steps: int


ENVIRONMENTS = {
    "gla/GridWorld-v0": Own("gla.environments.grid_world", "GridWorld", 10),
    "gla/PointMass-v0": Own("gla.environments.point_mass", "PointMass", 20),
    "gla/LinearControl-v0": Own("gla.environments.linear_control", "LinearControl", 20),
    "gla/RandomControl-v0": Own("gla.environments.random_control", "RandomControl", 40),
    "gla/AntDir-v0": Own("gla.environments.ant_dir", "AntDir", 200),
    "gla/DarkRoom-v0": Own("gla.environments.dark_room", "DarkRoom", 20),
    "gla/DarkRoomHard-v0": Own("gla.environments.dark_room", "DarkRoomHard", 20),
    "gla/DarkRoomEnds-v0": Own("gla.environments.dark_room", "DarkRoomEnds", 20),
    "gla/DarkRoomCorner-v0": Own("gla.environments.dark_room", "DarkRoomCorner", 100),
    "gla/DarkRoomCost-v0": Own("gla.environments.dark_room", "DarkRoomCost", 100),
    "gla/DarkKeyToDoor-v0": Own("gla.environments.dark_room", "DarkKeyToDoor", 50),
    "gla/DarkKeyToDoorEnds-v0": Own("gla.environments.dark_room", "DarkKeyToDoorEnds", 50),
    "gla/Watermaze-v0": Own("gla.environments.watermaze", "Watermaze", 50),
    "gla/Bandit-v0": Own("gla.environments.bandit", "Bandit", 1),
    "gla/TabularMDP-v0": Own("gla.environments.bandit", "TabularMDP", 10),
    "gla/CliffWalking-v0": Own("gla.environments.toy_text", "CliffWalking", 200),
    "gla/FrozenLake-v0": Own("gla.environments.toy_text", "FrozenLake", 100),
    "gla/DiscretePendulum-v0": Own("gla.environments.toy_text", "DiscretePendulum", 200),
    "gla/Switch2-v0": Own("gla.environments.switch", "Switch2", 50),
    "gla/AnyMDP-v0": Own("gla.environments.anymdp", "AnyMDP", 1000),
    "gla/Garnet-v0": Own("gla.environments.anymdp", "Garnet", 1000),
}

BACKENDS = Kinds("backend", {"gymnasium": "gla.environments.vector", "envpool": "gla.environments.envpool"})
