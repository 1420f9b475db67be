"""Deciding about bins: the panel of buttons, tags and note that pages share, and what it keeps.

Every press is one addition to the label store; nothing else is written, and nothing there is ever overwritten.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import streamlit as st

from app import words
from app.data import Stores
from app.reviewer import known_reviewer, reviewer
from app.theme import tag_name
from app.words import count, plain, sentence
from ifcb_flow_pipeline.store.labels import DECISIONS, MAX_NOTE, TAGS, Decision, Label, LabelStore
from ifcb_flow_pipeline.store.records import RecordError

#: How each decision is drawn, and its key on the keyboard.
ICONS: Mapping[Decision, str] = {
    "good": ":material/thumb_up:",
    "bad": ":material/thumb_down:",
    "unsure": ":material/help:",
}
KEYS: Mapping[Decision, str] = {"good": "G", "bad": "B", "unsure": "U"}
UNDO_KEY = "Z"

KEYS_OVERVIEW = (
    "Keys: "
    + ", ".join(f"**{key}** {decision}" for decision, key in KEYS.items())
    + f"; **{UNDO_KEY}** undo; **←** **→** the bins before and after. In Triage, with **Shift**: the whole group."
)

# Keys of the session's state.
_TAGS, _NOTE, _SAID = "decision_tags", "decision_note", "decision_said"

#: Is told the bins that a press was about.
After = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Target:
    """The bins that one press decides about, and what they are called on the button: ``this bin``."""

    pids: tuple[str, ...]
    name: str


def label_store(stores: Stores) -> LabelStore:
    """Where people's decisions are."""
    return LabelStore(stores.home / "labels.sqlite")


def decision_panel(
    store: LabelStore, pid: str, whole: Target | None = None, after: After | None = None, undone: After | None = None
) -> None:
    """Buttons, tags and note to decide about a bin, what has been decided about it, and undo.

    ``whole``: more bins that the same tags and note may be given to with one press. ``after`` and ``undone`` are told
    the bins of a decision, and of one that was taken back: undo is about the reviewer's latest decision where it leads
    back to its bin, else about the one on this bin. Asks for the reviewer's name where it is not known. Errors
    of the store are said, and nothing is lost then.
    """
    name = reviewer()
    if name is None:
        return
    try:
        current, history, latest = store.current(), store.history(pid), store.latest_of(name)
        if undone is None:
            latest = [label for label in history[-1:] if label.reviewer == name and label.id]
    except RecordError as error:
        st.error(sentence(str(error)))
        return
    _said()
    desk = _Desk(store, name, current, after)
    with st.container(horizontal=True, gap="small"):
        for decision in DECISIONS:
            desk.button(decision, Target((pid,), "this bin"), decision.capitalize(), "decide", KEYS[decision])
        if latest:
            _undo_button(store, name, latest, undone)
    _history(history)
    _reasons()
    if whole is not None and len(whole.pids) > 1:
        desk.row(whole, "decide_all", shortcuts=True)


def decide_all(store: LabelStore, target: Target, key: str, after: After | None = None) -> None:
    """A row of buttons that decide about many bins at once, with the tags and the note of the panel beside them."""
    name = known_reviewer()
    if name is None or not target.pids:
        return
    try:
        current = store.current()
    except RecordError as error:
        st.error(sentence(str(error)))
        return
    _Desk(store, name, current, after).row(target, key)


def bulk_panel(store: LabelStore, target: Target) -> None:
    """Tags, note and buttons to decide about many bins at once, and undo."""
    name = reviewer()
    if name is None:
        return
    try:
        current, latest = store.current(), store.latest_of(name)
    except RecordError as error:
        st.error(sentence(str(error)))
        return
    _said()
    _reasons()
    _Desk(store, name, current, None).row(target, "decide_many")
    if latest:
        _undo_button(store, name, latest, None)


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where one reviewer decides. ``current``: what counted when the bins were shown."""

    store: LabelStore
    name: str
    current: Mapping[str, Label]
    after: After | None

    def row(self, target: Target, key: str, *, shortcuts: bool = False) -> None:
        st.markdown(f"**{plain(target.name)}** ({count(len(target.pids), 'bin')})")
        with st.container(horizontal=True, gap="small"):
            for decision in DECISIONS:
                shortcut = f"Shift+{KEYS[decision]}" if shortcuts else None
                self.button(decision, target, f"Mark all {decision}", key, shortcut)

    def button(self, decision: Decision, target: Target, label: str, key: str, shortcut: str | None) -> None:
        st.button(label, icon=ICONS[decision], key=f"{key}_{decision}", shortcut=shortcut, help=DECISIONS[decision],
                  on_click=self.decide, args=(decision, target))  # fmt: skip

    def decide(self, decision: Decision, target: Target) -> None:
        tags, note = st.session_state.get(_TAGS, ()), st.session_state.get(_NOTE, "")
        now = datetime.now(tz=UTC)
        try:
            meanwhile = _meanwhile(self.store.current(), self.current, target.pids)
            if any(label.reviewer == self.name for label in meanwhile):
                # A second press before the next bin was drawn: it was meant for that one, which nobody had seen.
                st.session_state[_SAID] = ("warning", "Ignored: the key was pressed before the next bin appeared.")
                return
            self.store.add([Label(pid, decision, tuple(tags), note, self.name, now, "triage") for pid in target.pids])
        except RecordError as error:
            st.session_state[_SAID] = ("error", f"Not saved: {error}")
            return
        st.session_state[_SAID] = ("success", f"{decision.capitalize()}: {_named(target.pids)}")
        if meanwhile:
            other, about = meanwhile[0], _named([label.pid for label in meanwhile])
            st.session_state[_SAID] = (
                "warning",
                f"{other.reviewer} marked {about} {other.decision} while you were looking. Both decisions are "
                f"saved, and "
                "yours counts; undo it to let the other count.",
            )
        st.session_state[_TAGS], st.session_state[_NOTE] = [], ""
        if self.after is not None:
            self.after(target.pids)


def _undo_button(store: LabelStore, name: str, latest: Sequence[Label], undone: After | None) -> None:
    pids = [label.pid for label in latest]

    def undo() -> None:
        try:
            store.withdraw([label.id for label in latest if label.id], name, datetime.now(tz=UTC))
        except RecordError as error:
            st.session_state[_SAID] = ("error", f"Not undone: {error}")
            return
        st.session_state[_SAID] = ("success", f"Undone: {_named(pids)}")
        # What was written is not lost: the decision may be made again in other words.
        st.session_state[_TAGS], st.session_state[_NOTE] = list(latest[-1].tags), latest[-1].note
        if undone is not None:
            undone(pids)

    ago = words.age(latest[-1].at, datetime.now(tz=UTC))
    st.button(
        f"Undo: {latest[-1].decision}, {_named(pids)}, {ago}",
        icon=":material/undo:",
        key="undo",
        shortcut=UNDO_KEY,
        type="tertiary",
        help="Takes this decision back; the one before it counts again",
        on_click=undo,
    )


def _reasons() -> None:
    # Not a box to type in: it would keep the keys that decide.
    st.pills("Tags", list(TAGS), selection_mode="multi", key=_TAGS, format_func=tag_name,
             help="Saved with the next decision; the IFCB dashboard shows them")  # fmt: skip
    st.text_input("Note", key=_NOTE, max_chars=MAX_NOTE, placeholder="Anything that others should know")


def _history(history: Sequence[Label]) -> None:
    for label in reversed(history[-5:]):
        tags = f" ({', '.join(map(tag_name, label.tags))})" if label.tags else ""
        note = f": {label.note}" if label.note.strip() else ""
        st.caption(
            f"{ICONS[label.decision]} {label.decision}{plain(tags)} by {plain(label.reviewer)}, "
            f"{label.at:%Y-%m-%d %H:%M} UTC{plain(note)}"
        )


def _said() -> None:
    kind, text = st.session_state.pop(_SAID, ("", ""))
    if kind == "success":
        st.toast(plain(text), icon=":material/check:")
    elif kind:
        (st.warning if kind == "warning" else st.error)(plain(text))


def _meanwhile(now: Mapping[str, Label], shown: Mapping[str, Label], pids: Sequence[str]) -> Sequence[Label]:
    """What has been decided about these bins since they were shown."""
    found = [now[pid] for pid in pids if pid in now]
    return [label for label in found if label.pid not in shown or (shown[label.pid].id or 0) < (label.id or 0)]


def _named(pids: Sequence[str]) -> str:
    return pids[0] if len(pids) == 1 else count(len(pids), "bin")
