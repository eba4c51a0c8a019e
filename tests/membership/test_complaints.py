"""Complaints: T of them may all be lies, so T+1 members are needed, each counted once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorum.certificate.complaint import Complaint
from quorum.membership.complaints import AGE_BLOCKS_MAX, ComplaintBook

NODES = ("n1", "n2", "n3", "n4", "n5")


def word(
    by: str, accused: str, number: int = 1, stands: bool = True, height: int = 0, epoch: int = 1
) -> Complaint:
    return Complaint(by, accused, epoch, height, number, stands, b"")


def book_with(*words: Complaint, faults: int = 1) -> ComplaintBook:
    book = ComplaintBook(1, NODES, faults)
    for each in words:
        book.take(each)
    return book


def test_t_complaints_make_nobody_considered_and_one_more_does():
    assert book_with(word("n1", "n5")).considered(0) == ()
    assert book_with(word("n1", "n5"), word("n2", "n5")).considered(0) == ("n5",)


def test_of_whom_more_than_2t_complain_comes_first_and_then_it_goes_by_name():
    few = [word(by, "n1") for by in ("n2", "n3")]
    many = [word(by, accused) for accused in ("n5", "n4") for by in ("n1", "n2", "n3")]
    assert book_with(*few, *many).considered(0) == ("n4", "n5", "n1")


def test_a_member_counts_once_however_often_it_complains():
    book = book_with(*(word("n1", "n5", number) for number in range(1, 9)))
    assert book.considered(0) == ()
    assert len(book.of("n5", 0)) == 1


def test_a_complaint_that_is_taken_back_counts_no_more():
    book = book_with(word("n1", "n5"), word("n2", "n5"), word("n2", "n5", 2, stands=False))
    assert book.considered(0) == ()


def test_an_older_word_does_not_replace_a_newer_one():
    book = book_with(word("n2", "n5", 2, stands=False), word("n2", "n5", 1), word("n1", "n5"))
    assert book.considered(0) == ()


def test_complaints_age_by_blocks_whichever_way_their_height_lies():
    book = book_with(word("n1", "n5", height=10), word("n2", "n5", height=10))
    assert book.considered(10 + AGE_BLOCKS_MAX) == ("n5",)
    assert book.considered(11 + AGE_BLOCKS_MAX) == ()
    far = book_with(word("n1", "n5", height=1 << 60), word("n2", "n5", height=1 << 60))
    assert far.considered(10) == ()


def test_strangers_other_epochs_and_members_about_themselves_do_not_count():
    book = book_with(word("x", "n5"), word("n1", "n5", epoch=2), word("n5", "n5"), word("n2", "x"))
    assert book.complained_of(0) == {}


@given(st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES), st.integers(0, 5), st.booleans())))
def test_whoever_is_considered_has_a_complaint_of_more_than_t_members(said: list[tuple[str, str, int, bool]]):
    faults = 1
    book = book_with(*(word(by, accused, number, stands) for by, accused, number, stands in said), faults=faults)
    for node in book.considered(0):
        assert len({each.by for each in book.of(node, 0)}) > faults
    liars_alone = book_with(*(word("n1", accused, number) for _, accused, number, _ in said), faults=faults)
    assert liars_alone.considered(0) == ()


@given(st.permutations([word("n1", "n5", 1), word("n1", "n5", 2, False), word("n2", "n5"), word("n3", "n5")]))
def test_the_order_in_which_words_come_changes_nothing(said: list[Complaint]):
    assert book_with(*said).complained_of(0) == {"n5": ("n2", "n3")}


class Asked(dict):
    """How many of its values were looked at."""

    looked = 0

    def values(self):
        Asked.looked += len(self)
        return super().values()


def test_each_word_is_looked_at_once_however_many_liars_complain_of_everybody():
    """T liars of N members say T times N words; to look at all of them for each member takes N times as long."""
    names = [f"n{number:02}" for number in range(40)]
    book = ComplaintBook(1, names, 13)
    for by in names[:13]:
        for accused in names:
            book.take(word(by, accused))
    book._words = {accused: Asked(said) for accused, said in book._words.items()}
    assert book.considered(0) == ()
    assert Asked.looked == 13 * 39
