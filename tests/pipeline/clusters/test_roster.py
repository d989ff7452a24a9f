"""Which jobs of workers are lost, and when it is no use to ask for more."""

from clustergrid.pipeline.clusters.roster import Roster, WorkerJob

RUNS = WorkerJob(is_over=False, words="RUNNING")
WAITS = WorkerJob(is_over=False, words="PENDING (Resources)")
FAILED = WorkerJob(is_over=True, words="FAILED")
LATER = 1000.0


def roster(n_jobs: int = 2) -> Roster:
    return Roster(queue="slurm", n_jobs=n_jobs, patience_seconds=5000.0)


def test_all_is_well():
    ours = roster()
    first = ours.look(0.0, {"w-0": "1", "w-1": "2"}, [], {"1": RUNS, "2": WAITS})
    assert not (first.gone)
    assert not (first.asks)
    assert not (first.verdict)
    assert not (first.lines)
    second = ours.look(1.0, {"w-0": "1", "w-1": "2"}, ["w-0"], None)
    assert second.lines == ("workers of 1 of 2 jobs are there",)
    third = ours.look(LATER, {"w-0": "1", "w-1": "2"}, ["w-0", "w-1"], None)
    assert third.n_present == 2
    assert not (third.gone)
    assert not (third.asks)
    assert not (third.verdict)


def test_a_worker_that_was_forgotten_is_asked_for_again():
    ours = roster()
    ours.look(0.0, {"w-0": "1", "w-1": "2"}, ["w-0", "w-1"], None)
    # dask-jobqueue took it from its list, and asks for none.
    look = ours.look(20.0, {"w-0": "1"}, ["w-0"], {"1": RUNS})
    assert look.asks
    assert not look.gone
    assert look.lines == ("lost 1 worker (job 2); asking slurm for as many again",)
    look = ours.look(21.0, {"w-0": "1", "w-2": "3"}, ["w-0"], {"1": RUNS, "3": WAITS})
    assert not (look.asks)
    assert not (look.gone)
    look = ours.look(22.0, {"w-0": "1", "w-2": "3"}, ["w-0", "w-2"], None)
    assert look.lines == ("workers of 2 of 2 jobs are there",)


def test_a_job_that_came_and_went_between_two_looks_is_asked_for_again():
    ours = roster()
    ours.look(0.0, {"w-0": "1", "w-1": "2"}, ["w-0", "w-1"], None)
    assert ours.look(20.0, {"w-0": "1"}, ["w-0"], {"1": RUNS}).asks
    look = ours.look(21.0, {"w-0": "1"}, ["w-0"], {"1": RUNS})
    assert look.asks
    assert look.lines == ("1 job lost; asking slurm for as many again",)


def test_a_job_that_ended_before_its_worker_came_is_replaced():
    ours = roster()
    jobs = {"w-0": "1", "w-1": "2.server"}
    ours.look(0.0, jobs, ["w-0"], {})
    look = ours.look(LATER, jobs, ["w-0"], {"1": RUNS, "2": FAILED})
    assert look.gone == ("w-1",)
    assert look.asks
    (line,) = look.lines
    assert (
        line == "1 job ended before a worker joined (job 2.server FAILED); "
        "asking slurm for as many again"
    )


def test_a_job_that_the_queue_does_not_know_yet_is_waited_for():
    ours = roster()
    assert not ours.look(0.0, {"w-0": "1"}, [], {}).gone
    assert not ours.look(9.0, {"w-0": "1"}, [], {}).gone
    assert ours.look(11.0, {"w-0": "1"}, [], {}).gone == ("w-0",)


def test_a_queue_that_does_not_answer_loses_nobody():
    ours = roster()
    jobs = {"w-0": "1", "w-1": "2"}
    ours.look(0.0, jobs, ["w-0", "w-1"], None)
    look = ours.look(LATER, jobs, [], None)
    assert not (look.gone)
    assert not (look.asks)
    assert not (look.verdict)


def test_a_job_that_waits_again_is_left_to_the_queue():
    ours = roster()
    jobs = {"w-0": "1", "w-1": "2"}
    ours.look(0.0, jobs, ["w-0", "w-1"], None)
    look = ours.look(LATER, jobs, ["w-0"], {"1": RUNS, "2": WAITS})  # the queue requeued it
    assert not look.gone


def test_a_refused_job_is_asked_for_again():
    ours = roster()
    jobs = {"w-0": "1", "w-1": None}
    assert not ours.look(0.0, jobs, ["w-0"], None).gone  # not at once
    look = ours.look(2.0, jobs, ["w-0"], {"1": RUNS})
    assert look.gone == ("w-1",)
    assert look.asks
    assert "(one refused)" in look.lines[-1]


def test_jobs_of_several_processes_are_there_with_one():
    ours = roster()
    jobs = {"w-1": "1", "w-10": "2"}
    look = ours.look(0.0, jobs, ["w-10-0", "w-10-1"], None)
    assert look.n_present == 1
    assert not ours.look(LATER, jobs, ["w-10-1"], {"1": RUNS}).gone


def test_jobs_that_all_end_at_once_end_the_run():
    ours = roster(n_jobs=2)
    looks = []
    for number in range(1, 4):
        jobs = {"w-0": str(number)}
        ours.look(10.0 * number, jobs, [], {str(number): RUNS})
        looks.append(ours.look(10.0 * number + 1, jobs, [], {str(number): FAILED}))
    assert [look.asks for look in looks] == [True, True, False]
    assert [look.verdict for look in looks[:2]] == [None, None]
    assert looks[2].verdict == "3 jobs of slurm ended before any of their workers joined"


def test_with_some_workers_hopeless_jobs_are_not_asked_for_again():
    ours = roster(n_jobs=3)
    asked = []
    for number in range(2, 6):  # one after another fails on the same node
        jobs = {"w-0": "1", "w-1": str(number)}
        ours.look(10.0 * number, jobs, ["w-0"], {str(number): RUNS})
        look = ours.look(10.0 * number + 1, jobs, ["w-0"], {str(number): FAILED})
        assert look.verdict is None
        asked.append(look.asks)
        if not look.asks:
            break
    assert asked == [True, True, False]
    assert "going on with the workers that are there" in look.lines[-1]
    again = ours.look(LATER, {"w-0": "1"}, ["w-0"], {})
    assert not again.asks
    assert not again.lines
    # One that joins shows that it is of use again.
    ours.look(LATER, {"w-0": "1", "w-2": "9"}, ["w-0", "w-2"], None)
    assert ours.look(LATER, {"w-0": "1"}, ["w-0"], {}).asks


def test_patience_ends_with_what_the_queue_says():
    ours = roster()
    jobs = {"w-0": "1", "w-1": "2"}
    ours.look(0.0, jobs, [], {"1": WAITS, "2": WAITS})
    assert ours.look(4999.0, jobs, [], {"1": WAITS, "2": WAITS}).verdict is None
    verdict = ours.look(5001.0, jobs, [], None).verdict  # what was said last
    assert verdict == (
        "no worker came for 5001 s; slurm says: job 1 PENDING (Resources), "
        "job 2 PENDING (Resources)"
    )
    silent = roster()
    silent.look(0.0, jobs, [], None)
    assert "does not answer" in silent.look(5002.0, jobs, [], None).verdict
