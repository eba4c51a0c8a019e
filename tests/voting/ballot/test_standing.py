"""What opinions decide: the T bounds of numbers, and locks that no later round contradicts."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from quorum.voting.ballot.rounds import next_lock, participants_problem, replaced
from quorum.voting.ballot.standing import canonical, possible_options, standing
from quorum.voting.ballot.terms import Terms, Voter, check_terms
from quorum.voting.tally import Rule

NUMBERS = st.floats(-1e6, 1e6)
ANY_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def electorate(count: int) -> tuple[Voter, ...]:
    return tuple(Voter(f"v{number}", key=bytes([number + 1] * 32)) for number in range(count))


def names(terms: Terms) -> list[str]:
    return [voter.name for voter in terms.electorate]


@st.composite
def measured(draw, kind: str, over: int = 0):
    """Terms of N = 3T+1 or more, and opinions of which T + `over` are lies from anywhere."""
    faults = draw(st.integers(1 if over else 0, 3))
    count = 3 * faults + 1 + (0 if over else draw(st.integers(0, 2)))
    terms = Terms(name="b", question="?", electorate=electorate(count), kind=kind, faults=faults)
    return terms, faults


@given(data=st.data())
def test_t_liars_never_move_the_median_out_of_the_honest_numbers(data):
    terms, faults = data.draw(measured("value"))
    honest = data.draw(st.lists(NUMBERS, min_size=len(terms.electorate) - faults, max_size=len(terms.electorate)))
    lies = data.draw(st.lists(ANY_NUMBERS, min_size=0, max_size=min(faults, len(terms.electorate) - len(honest))))
    opinions = dict(zip(data.draw(st.permutations(names(terms))), honest + lies, strict=False))
    assume(len(opinions) >= len(terms.electorate) - faults)
    found = standing(terms, names(terms), opinions, closed=True)
    assert found.state == "won"
    assert min(honest) <= found.opinion <= max(honest)


@given(faults=st.integers(1, 4))
def test_t_plus_one_liars_of_the_fewest_that_decide_move_it_anywhere(faults):
    terms = Terms(name="b", question="?", electorate=electorate(3 * faults + 1), kind="value", faults=faults)
    opinions = dict.fromkeys(names(terms)[:faults], 0.0)
    opinions |= dict.fromkeys(names(terms)[faults : 2 * faults + 1], 1e9)
    found = standing(terms, names(terms), opinions, closed=True)
    assert found.state == "won" and found.opinion == 1e9


@given(data=st.data())
def test_t_wrong_intervals_leave_the_truth_in_the_decision(data):
    terms, faults = data.draw(measured("interval"))
    truth = data.draw(NUMBERS)
    widths = st.tuples(st.floats(0, 10), st.floats(0, 10))
    right = data.draw(st.lists(widths, min_size=len(terms.electorate) - faults, max_size=len(terms.electorate)))
    wrong = data.draw(
        st.lists(
            st.tuples(ANY_NUMBERS, ANY_NUMBERS).map(lambda ends: tuple(sorted(ends))),
            max_size=len(terms.electorate) - len(right),
        )
    )
    given_ = [(truth - below, truth + above) for below, above in right] + wrong
    opinions = dict(zip(data.draw(st.permutations(names(terms))), given_, strict=False))
    found = standing(terms, names(terms), opinions, closed=True)
    assert found.state == "won"
    low, high = found.opinion
    assert low <= truth <= high


@given(data=st.data())
def test_t_liars_never_move_a_vector_out_of_the_honest_numbers_of_any_axis(data):
    terms = Terms(name="b", question="?", electorate=electorate(4), kind="vector", axes=2, faults=1)
    honest = data.draw(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=3))
    lie = data.draw(st.tuples(ANY_NUMBERS, ANY_NUMBERS))
    opinions = dict(zip(data.draw(st.permutations(names(terms))), [*honest, lie], strict=True))
    found = standing(terms, names(terms), opinions)
    for axis in range(2):
        assert min(row[axis] for row in honest) <= found.opinion[axis] <= max(row[axis] for row in honest)


@given(opinion=st.one_of(ANY_NUMBERS, st.integers(-5, 5), st.tuples(ANY_NUMBERS, st.integers(-5, 5))))
def test_an_opinion_has_one_spelling(opinion):
    spelled = canonical(opinion)
    numbers = spelled if isinstance(spelled, tuple) else (spelled,)
    assert spelled == opinion and repr(canonical(spelled)) == repr(spelled) and "-0.0" not in map(repr, numbers)


# Rounds.


class Course:
    """Rounds of a ballot as somebody sees them who knows every vote that was ever signed, also those that came too
    late for the log."""

    def __init__(self, terms: Terms, signed: dict[str, str], lock) -> None:
        self.terms, self.signed, self.lock = terms, signed, lock
        self.participants = terms.first_participants
        self.counted: dict[str, str] = {}
        self.gone: set[str] = set()
        self.locked: str | None = None
        self.seen: set[str] = set()
        self.look()

    def look(self) -> None:
        """What the signatures of this round's participants would prove."""
        everything = {name: self.signed[name] for name in self.participants if name in self.signed}
        found = standing(self.terms, self.participants, everything, locked=self.locked)
        if found.state == "won":
            self.seen.add(found.opinion)

    def count(self, name: str) -> None:
        if name in self.participants and name in self.signed:
            self.counted[name] = self.signed[name]

    def retry(self) -> None:
        silent = [name for name in self.participants if name not in self.counted]
        after = replaced(self.terms, self.participants, silent, self.gone)
        locked = self.lock(self.terms, self.participants, self.counted, self.locked)
        is_open = locked is None and len(possible_options(self.terms, self.participants, self.counted)) > 1
        if after == self.participants or is_open:
            return
        assert participants_problem(self.terms, self.participants, after, silent, self.gone) is None
        self.gone |= set(self.participants) - set(after)
        self.participants, self.locked = after, locked
        self.look()


@st.composite
def courses(draw, lock=next_lock):
    count = draw(st.integers(3, 7))
    rule = draw(st.sampled_from([Rule(), Rule("share", 2, 3), Rule("byzantine", faults=0)]))
    terms = Terms(
        name="b",
        question="?",
        electorate=electorate(count),
        rule=rule,
        faults=draw(st.integers(0, count - 1)) if rule.kind != "byzantine" else 0,
        participants=draw(st.integers(1, count)),
    )
    check_terms(terms)
    signed = draw(st.dictionaries(st.sampled_from(names(terms)), st.sampled_from(terms.choices), max_size=count))
    course = Course(terms, signed, lock)
    for step in draw(st.lists(st.sampled_from(["retry", *names(terms)]), max_size=14)):
        if step == "retry":
            course.retry()
        else:
            course.count(step)
    return course


@given(course=courses())
def test_no_round_after_a_lock_decides_otherwise_than_the_votes_before_it_whichever_came_too_late(course):
    assert len(course.seen) <= 1


def test_a_blank_retry_lets_two_rounds_decide_differently():
    """The control: the late vote of v3 would have decided, and a round of more voters turns it round."""

    def forget(*_: object) -> None:
        return None

    terms = Terms(name="b", question="?", electorate=electorate(7), faults=3, participants=4)
    signed = dict.fromkeys(("v0", "v1", "v3"), "approve") | dict.fromkeys(("v2", "v4", "v5", "v6"), "reject")
    for lock, expected in ((forget, {"approve", "reject"}), (next_lock, {"approve"})):
        course = Course(terms, signed, lock)
        for name in ("v0", "v1", "v2"):
            course.count(name)
        course.retry()
        course.participants = (*course.participants, "v5", "v6")
        course.look()
        assert course.seen == expected


@given(course=courses())
def test_what_is_possible_holds_what_everybody_signed(course):
    everything = {name: course.signed[name] for name in course.participants if name in course.signed}
    found = standing(course.terms, course.participants, everything)
    if found.state == "won":
        assert found.opinion in possible_options(course.terms, course.participants, course.counted)
