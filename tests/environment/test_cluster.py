import threading

from lab.environment import cluster

SOON_S = 30


class Future:
    """A task that has ended, whose answer is on its way until it may come."""

    status = "finished"

    def __init__(self, key):
        self.key, self.may_come = key, threading.Event()

    def add_done_callback(self, call):
        call(self)  # dask calls one after the other, in one thread

    def result(self, timeout):
        assert self.may_come.wait(SOON_S)
        return f"answer of {self.key}"

    def cancel(self):
        pass

    release = cancel


class Client:
    def __init__(self):
        self.futures = {}

    def subscribe_topic(self, topic, handler):
        pass

    def submit(self, *words, key, **more):
        return self.futures.setdefault(key, Future(key))

    def close(self, timeout):
        pass


def test_an_answer_that_does_not_come_holds_up_no_other():
    client = Client()
    ours = cluster.Cluster(client, "topic", lambda said: None)
    for key in ("of a lost worker", "sound"):
        ours.submit(key, b"", "w", {})
    client.futures["sound"].may_come.set()
    first = ours.ends.get(timeout=SOON_S)
    assert (first.key, first.value, first.lost) == ("sound", "answer of sound", False)
    client.futures["of a lost worker"].may_come.set()
    assert ours.ends.get(timeout=SOON_S).key == "of a lost worker"
    ours.close()


def test_what_ends_after_the_connection_was_closed_is_asked_for_by_nobody():
    client = Client()
    ours = cluster.Cluster(client, "topic", lambda said: None)
    ours.close()
    ours._fetch("late", Future("late"))
    assert ours.ends.empty()
