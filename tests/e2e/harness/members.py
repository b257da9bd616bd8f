"""Several topkd in one group, each known by its name: whose partitions are whose, and do all of them move."""
from .wait import wait_until


def owns(database, topic, name, at_least=1, counter="video_views"):
    return sum(owner == name for owner in database.owners(topic.name, counter).values()) >= at_least


def wait_for_owner(database, topic, name, limit, at_least=1, counter="video_views"):
    wait_until(lambda: owns(database, topic, name, at_least, counter), limit, f"{name} owns {at_least} partitions of {topic.name}")


def wait_for_all_moving(database, topic, since, limit, owner=None, counter="video_views"):
    """Until every partition's next offset has passed that in `since`, and `owner` (if named) has them all."""
    state = {}

    def moved():
        state["offsets"], state["owners"] = database.next_offsets(topic.name, counter), database.owners(topic.name, counter)
        return (all((state["offsets"].get(partition) or 0) > (since.get(partition) or 0) for partition in range(topic.partitions))
                and (owner is None or all(name == owner for name in state["owners"].values())))
    try:
        wait_until(moved, limit, f"flushes of all partitions of {topic.name}")
    except AssertionError as error:
        raise AssertionError(f"{error}: since {since}, now {state}") from None
