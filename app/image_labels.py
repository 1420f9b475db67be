"""Labelling an image by key: the fault it has, or none, and its class. Each press adds one label to the store."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import streamlit as st

from app import images
from app.data import Stores
from app.reviewer import reviewer
from app.theme import IMAGE_FAULTS, image_fault_name
from app.words import plain, sentence
from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.detection.images.recogniser import CLEAN
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.image_labels import MAX_CLASS, ImageLabel, ImageLabelStore, Kind

#: Keys: for an image without a fault, for the class that was given last, and for the commonest faults.
CLEAN_KEY, CLASS_KEY, UNDO_KEY = "0", "K", "Z"
FAULT_KEYS: Mapping[str, str] = {code: str(number) for number, code in enumerate(list(IMAGE_FAULTS)[:9], 1)}

# Keys of the session's state.
_SAID, _MINE, _CLASS, _LAST = "image_label_said", "image_labels_mine", "image_label_class", "image_label_last"


def panel(stores: Stores, pid: str, roi: int, model: ImageModel, after: Callable[[], None]) -> None:
    """Buttons to label an image, what it has been labelled, and undo. ``after`` is called when a label was kept: it
    goes on to the next image. Asks for the reviewer's name where it is not known.
    """
    st.subheader("Your label", anchor=False)
    name = reviewer()
    if name is None:
        return
    store = ImageLabelStore(stores.home / "labels.sqlite")
    try:
        labels = images.labels_of(stores, pid)
    except FlowError as error:
        st.error(sentence(str(error)))
        return
    _said()
    desk = _Desk(store, name, pid, roi, after)
    with st.container(horizontal=True, gap="small"):
        desk.button("fault", CLEAN, "No fault", CLEAN_KEY, ":material/check:")
        desk.undo()
    with st.container(horizontal=True, gap="small"):
        for code, (called, meaning) in IMAGE_FAULTS.items():
            desk.button("fault", code, called.capitalize(), FAULT_KEYS.get(code), None, meaning)
    _class(desk, model, labels)
    _history(labels.get(roi, {}))
    st.caption(
        f"Keys: **{CLEAN_KEY}** no fault, **1** to **{len(FAULT_KEYS)}** the first faults, **{CLASS_KEY}** the class "
        f"given last, **{UNDO_KEY}** undo, **←** **→** other images. A label opens the next image."
    )


class _Desk:
    """Where one reviewer labels one image."""

    def __init__(self, store: ImageLabelStore, name: str, pid: str, roi: int, after: Callable[[], None]) -> None:
        self.store, self.name, self.pid, self.roi, self.after = store, name, pid, roi, after

    def button(
        self, kind: Kind, label: str, title: str, key: str | None, icon: str | None, meaning: str | None = None
    ) -> None:
        st.button(title, icon=icon, key=f"label_{kind}_{label}", shortcut=key, help=meaning, on_click=self.keep,
                  args=(kind, label))  # fmt: skip

    def keep(self, kind: Kind, label: str) -> None:
        """Keep a label of the image, and go on."""
        try:
            number = self.store.add(ImageLabel(self.pid, self.roi, kind, label, self.name, datetime.now(tz=UTC)))
        except FlowError as error:
            st.session_state[_SAID] = ("error", f"Not saved: {error}")
            return
        st.session_state.setdefault(_MINE, []).append((number, self.pid, self.roi))
        said = image_fault_name(label) if kind == "fault" else images.class_words(label)
        st.session_state[_SAID] = ("success", f"Image {self.roi}: {said}")
        if kind == "class":
            st.session_state[_LAST] = label
        self.after()

    def undo(self) -> None:
        """Take the label back that was given last in this session, and open its image."""
        mine = st.session_state.get(_MINE) or []
        if not mine:
            return
        number, pid, roi = mine[-1]

        def withdraw() -> None:
            try:
                self.store.withdraw(number, self.name, datetime.now(tz=UTC))
            except FlowError as error:
                st.session_state[_SAID] = ("error", f"Not undone: {error}")
                return
            mine.pop()
            st.session_state[_SAID] = ("success", f"Undone: image {roi}")
            st.query_params["pid"], st.query_params["roi"] = pid, str(roi)

        st.button(f"Undo: image {roi}", icon=":material/undo:", key="label_undo", shortcut=UNDO_KEY, type="tertiary",
                  on_click=withdraw, help="Takes the label back that you gave last")  # fmt: skip


def _class(desk: _Desk, model: ImageModel, labels: Mapping[int, Mapping[Kind, ImageLabel]]) -> None:
    given = {one["class"].label for one in labels.values() if "class" in one}
    known = sorted(given | set(model.card.classes))

    def choose() -> None:
        if chosen := st.session_state[_CLASS]:
            desk.keep("class", str(chosen).strip()[:MAX_CLASS])
        st.session_state[_CLASS] = None

    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        st.selectbox("Class", known, index=None, key=_CLASS, accept_new_options=True, on_change=choose,
                     format_func=images.class_words, placeholder="Choose or type a class", width=260)  # fmt: skip
        if last := st.session_state.get(_LAST):
            desk.button("class", last, f"{images.class_words(last)} again", CLASS_KEY, ":material/label:")


def _history(labels: Mapping[Kind, ImageLabel]) -> None:
    for kind, label in labels.items():
        words: Literal["Class", "Fault"] = "Class" if kind == "class" else "Fault"
        st.caption(f"{words}: **{plain(images.label_words(label))}**, said {plain(label.reviewer)}, "
                   f"{label.at:%Y-%m-%d %H:%M} UTC")  # fmt: skip


def _said() -> None:
    kind, text = st.session_state.pop(_SAID, ("", ""))
    if kind == "success":
        st.toast(plain(text), icon=":material/check:")
    elif kind:
        st.error(plain(text))
