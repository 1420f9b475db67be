"""The page "Study": how well people and the model agree, found by labelling a sample without seeing the verdict."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from app import address, charts, data, shown_bin
from app.data import Scored, Stores
from app.decisions import ICONS, KEYS, UNDO_KEY, label_store
from app.pages import BIN, STUDY, go_to, scored_stores
from app.reviewer import known_reviewer, reviewer, signature
from app.theme import cause_name
from app.words import count, plain, sentence
from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES
from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.review.agreement import Kappa, Rate
from ifcb_flow_pipeline.review.handover import csv_of
from ifcb_flow_pipeline.review.known_answers import known_answers
from ifcb_flow_pipeline.review.psychometric import MIN_ANSWERS, psychometric
from ifcb_flow_pipeline.review.results import MODEL, StudyResult, left_for
from ifcb_flow_pipeline.review.sampling import MIN_BINS, REPEAT_SHARE, draw
from ifcb_flow_pipeline.store.labels import DECISIONS, MAX_NOTE, Decision, Label
from ifcb_flow_pipeline.store.studies import MAX_NAME, Item, Rating, Study, StudyStore
from ifcb_flow_pipeline.store.tables import JUDGED

_DEFAULT_BINS, _MAX_BINS = 40, 500

_PARTS: Mapping[str, str] = {"label": "Label", "results": "Results", "resolve": "Resolve disagreements"}

#: Fewer bins than these say nothing about agreement.
_FEWEST = 10

#: Where the slider of a rating stands before anybody moves it; there it is no rating.
_UNMOVED = 50

# Keys of the session's state.
_SHOWN, _CAUSE, _NOTE, _SAID = "study_shown", "study_cause", "study_note", "study_said"


def _page() -> None:
    head = st.container(horizontal=True, gap="medium", vertical_alignment="center")
    head.header(STUDY.title, anchor=False, width="content")
    stores = scored_stores()
    if (clicked := st.session_state.pop("clicked", None)) is not None:
        go_to(BIN, bin=clicked)
    if known_reviewer() is None:
        st.markdown(_ABOUT)
    name = reviewer()
    if name is None:
        return
    store = StudyStore(stores.home / "studies.sqlite")
    if problem := st.session_state.pop(_SAID, ""):
        st.error(plain(problem))
    try:
        studies = store.studies()
        if not studies:
            st.markdown(f"{_ABOUT} Begin with *New study*.")
        with head:
            # Another key once a study has begun: the form must not stay open above its first bin.
            with st.popover("New study", icon=":material/add:", key=f"new_study_{len(studies)}"):
                _new_study(stores, store, name)
            study = _chosen(studies) if studies else None
            signature(name)
        if study is not None:
            _study(stores, store, study, name)
    except FlowError as error:
        st.error(sentence(str(error)))


_ABOUT = (
    "A study shows you bins one by one, without their name, time and verdict, and asks whether each is good or bad. At "
    "the end you see how well you, others and the model agree."
)


def _chosen(studies: Sequence[Study]) -> Study:
    by_id = {study.id: study for study in studies}

    def named(number: int) -> str:
        return f"{by_id[number].name}, {by_id[number].created:%Y-%m-%d}"

    latest = str(studies[0].id)
    chosen = address.one("study", "Study", [str(number) for number in by_id], latest, width=320,
                         called=lambda code: named(int(code)), label_visibility="collapsed")  # fmt: skip
    return by_id[int(chosen or latest)]


def _study(stores: Stores, store: StudyStore, study: Study, name: str) -> None:
    items, ratings = store.items(study.id), store.ratings(study.id)
    left = left_for(name, items, ratings)
    result = StudyResult(items, ratings)
    part = address.one("part", "Part", list(_PARTS), "label", draw=st.segmented_control, called=_part_name,
                       required=True, label_visibility="collapsed")  # fmt: skip
    if part == "label":
        _label(stores, store, study, result, left, name)
    elif left and not _shown_anyway(left):
        return
    elif part == "results":
        _results(study, result)
    else:
        _look_again(stores, store, result, name)


def _clicked(pid: str | None) -> None:
    st.session_state["clicked"] = pid


def _part_name(code: str) -> str:
    return _PARTS[code]


def _shown_anyway(left: Sequence[Item]) -> bool:
    st.info(
        f"You have {count(len(left), 'bin')} left to label. Here the model's verdicts are shown and what others said; "
        "labels given after that are not blind."
    )
    return st.toggle("Show it anyway", key="study_unblind")


def _new_study(stores: Stores, store: StudyStore, name: str) -> None:
    with st.form("new_study", border=False):
        title = st.text_input("Name of the study", max_chars=MAX_NAME, placeholder="Spring cruise, all instruments")
        n_bins = st.number_input(f"Bins ({MIN_BINS} to {_MAX_BINS})", MIN_BINS, _MAX_BINS, _DEFAULT_BINS, step=10,
                                 width=160)  # fmt: skip
        st.caption(
            "A third are the worst, a third lie next to the threshold, a third are drawn from all others. "
            f"{REPEAT_SHARE:.0%} are shown twice, to measure each reviewer's consistency."
        )
        if st.form_submit_button("Begin"):
            _begin(store, data.read_scored(stores), title, int(n_bins), name)


def _begin(store: StudyStore, scored: Scored, title: str, n_bins: int, name: str) -> None:
    rows = scored.rows.loc[scored.rows["verdict"].isin(JUDGED)].dropna(subset=["severity", "threshold"])
    if len(rows) < MIN_BINS:
        st.error(f"A study needs at least {MIN_BINS} bins with a verdict; there are {len(rows)}.")
        return
    now = datetime.now(tz=UTC)
    seed = int(now.timestamp())
    drawn = draw(rows["severity"], rows["threshold"], n_bins, seed)
    chosen = rows.iloc[[item.row for item in drawn]]
    columns = [chosen[column].astype(str) for column in ("pid", "verdict", "cause")]
    items = [
        Item(pid, one.stratum, one.weight, verdict, float(severity), cause, one.repeat_of)
        for one, pid, verdict, cause, severity in zip(drawn, *columns, chosen["severity"], strict=True)
    ]
    number = store.begin(title, seed, items, name, now)
    address.put(study=str(number))
    st.rerun()


def _label(
    stores: Stores, store: StudyStore, study: Study, result: StudyResult, left: Sequence[Item], name: str
) -> None:
    n_items = len(result.items)
    done = n_items - len(left)
    st.progress(done / n_items, text=f"{done} of {n_items}")
    mine = [rating for rating in result.ratings if rating.reviewer == name and rating.round == "blind"]
    if not left:
        st.success("All bins labelled. See Results.", icon=":material/done_all:")
        _undo(store, mine, name)
        return
    item = left[0]
    if st.session_state.get(_SHOWN, (None,))[0] != item.id:
        st.session_state[_SHOWN] = (item.id, time.monotonic())
    desk = shown_bin.desk()
    with desk.charts:
        shown_bin.blind_charts(stores, item.pid)
    with desk.doing:
        st.markdown("**Can the data of this bin be used?**")
        if address.switch(
            "rate", "Also rate it from 0 to 100", help="Saved with your answer where you move the slider"
        ):
            st.slider("0 surely good, 100 surely bad", 0, 100, _UNMOVED, key=_mark_key(item))
        _decisions(store, study, item, name)
        st.pills("What is wrong?", list(CAUSE_NAMES), key=_CAUSE, format_func=cause_name,
                 help="If you can tell. Saved with your next answer.")  # fmt: skip
        _undo(store, mine, name)
        keys = ", ".join(f"{key} {decision}" for decision, key in KEYS.items())
        st.caption(f"Keys: {keys}, {UNDO_KEY} undo. You can leave at any time and go on later.")
    shown_bin.blind_images(stores, item.pid)


def _mark_key(item: Item) -> str:
    """The slider of an item: each begins in the middle, where it says nothing."""
    return f"study_mark_{item.id}"


def _decisions(store: StudyStore, study: Study, item: Item, name: str) -> None:
    def rate(decision: Decision) -> None:
        shown, since = st.session_state.get(_SHOWN, (item.id, time.monotonic()))
        seconds = time.monotonic() - since if shown == item.id else 0.0
        cause = st.session_state.get(_CAUSE) or ""
        mark = st.session_state.get(_mark_key(item), _UNMOVED)
        mark = None if mark == _UNMOVED else int(mark)

        def keep() -> None:
            # A second press before the next bin is drawn is meant for that one, which nobody has seen yet.
            if left_for(name, [item], store.ratings(study.id)):
                store.rate(
                    Rating(item.id or 0, name, "blind", decision, seconds, datetime.now(tz=UTC), cause, mark=mark)
                )

        _kept(keep)
        st.session_state[_CAUSE] = None

    with st.container(horizontal=True, gap="small"):
        for decision in DECISIONS:
            st.button(decision.capitalize(), icon=ICONS[decision], key=f"study_{decision}", shortcut=KEYS[decision],
                      help=DECISIONS[decision], on_click=rate, args=(decision,))  # fmt: skip


def _undo(store: StudyStore, mine: Sequence[Rating], name: str) -> None:
    def undo() -> None:
        _kept(lambda: store.withdraw(mine[-1].id or 0, name, datetime.now(tz=UTC)))

    if mine:
        st.button(f"Undo: {mine[-1].decision}", icon=":material/undo:", key="study_undo", shortcut=UNDO_KEY,
                  type="tertiary", on_click=undo, help="Takes your latest answer back")  # fmt: skip


def _results(study: Study, result: StudyResult) -> None:
    if not result.ratings:
        st.info("Nobody has labelled anything yet.")
        return
    reference = _reference()
    st.subheader("How often are they right?", anchor=False)
    against = (
        f"Compared with {count(len(reference), 'known answer')}."
        if reference is not None
        else "Each reviewer is compared with the majority of the others, the model with the majority of all; what was "
        "resolved on a second look counts instead. Weighted to all scored bins, the model is right about "
        f"{_share(result.model_on_all_bins().accuracy.value)} of the time."
    )
    st.caption(f"{against} In brackets the 95 % interval.")
    st.dataframe(_rates(result, reference), hide_index=True, alt="Accuracy and rates of each reviewer and the model")
    st.subheader("How well do they agree?", anchor=False)
    st.caption(
        "Cohen's kappa of pairs, Krippendorff's alpha and Fleiss' kappa of all reviewers: 1 is full agreement, 0 what "
        "chance would give; above 0.6 is often called good."
    )
    st.dataframe(_kappas(result), hide_index=True, alt="Agreement of each pair and of all")
    _curve(result)
    st.subheader("By suspected cause", anchor=False)
    st.dataframe(_by_cause(result), hide_index=True, alt="The model's verdicts and the answers by suspected cause")
    named = result.causes_named()
    if named:
        st.caption("What people say is wrong, beside what the model suspects.")
        st.dataframe(_named(named), hide_index=True, alt="Causes that people name by the cause that the model suspects")
    with st.container(horizontal=True, gap="small"):
        for what, rows in (("answers", result.rows), ("statistics", result.statistics)):
            st.download_button(f"All {what} as CSV", lambda rows=rows: csv_of(pd.DataFrame(rows())),
                               f"study-{study.id}-{what}.csv", "text/csv", key=f"study_csv_{what}",
                               icon=":material/download:", on_click="ignore")  # fmt: skip


def _curve(result: StudyResult) -> None:
    """How often bins of a severity are called bad."""
    st.subheader("Where do people draw the line?", anchor=False)
    found = psychometric(result.items, result.ratings)
    if not found.steps:
        st.caption("No answers yet to bins with a severity.")
        return
    st.vega_lite_chart(charts.psychometric(found, BAD_FROM), width="content",
                       alt="Share of answers that call a bin bad, by the severity that the model gave it")  # fmt: skip
    line = (
        f"More than half of the answers are bad from severity {found.line:.0f} on; the model calls bins bad from "
        f"{BAD_FROM:.0f} on."
        if math.isfinite(found.line)
        else f"Too few answers, or too much alike, to say where the line is ({MIN_ANSWERS} are needed, of both kinds)."
    )
    st.caption(f"{line} Marks: share of bad answers, with 95 % intervals; triangles: mean rating from 0 to 100.")


def _reference() -> Mapping[str, str] | None:
    """Known answers that are uploaded: what a lone reviewer is compared with."""
    with st.expander("Compare with known answers", icon=":material/fact_check:"):
        file = st.file_uploader("A CSV file with the columns pid and answer (good or bad)", key="study_reference",
                                type="csv")  # fmt: skip
    if file is None:
        return None
    try:
        return known_answers(file.getvalue())
    except FlowError as error:
        st.error(sentence(str(error)))
        return None


def _rates(result: StudyResult, reference: Mapping[str, str] | None) -> pd.DataFrame:
    rows = []
    for name in (*result.reviewers, MODEL):
        confusion = result.confusion(name, reference)
        seconds = math.nan if name == MODEL else result.seconds(name)
        rows.append({
            "who": name,
            "accuracy": _rate(confusion.accuracy),
            "bad bins found (TPR)": _rate(confusion.true_positive_rate),
            "false alarms (FPR)": _rate(confusion.false_positive_rate),
            "correctly flagged": int(confusion.true_bad),
            "missed": int(confusion.false_good),
            "false alarm": int(confusion.false_bad),
            "correctly passed": int(confusion.true_good),
            "unsure": confusion.unsure,
            "seconds an answer": "" if math.isnan(seconds) else f"{seconds:.1f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def _kappas(result: StudyResult) -> pd.DataFrame:
    rows = [(first, second, kappa) for (first, second), kappa in result.kappas().items()]
    rows += [(name, "same reviewer, repeated bins", result.kappa_with_oneself(name)) for name in result.reviewers]
    rows += [("all reviewers", name, kappa) for name, kappa in result.agreement_of_all().items()]
    return pd.DataFrame([{"who": first, "and": second, "kappa": _kappa(kappa), "bins": kappa.n}
                         for first, second, kappa in rows])  # fmt: skip


def _by_cause(result: StudyResult) -> pd.DataFrame:
    answers = result.by_cause()
    return pd.DataFrame([
        {
            "the model suspects": cause_name(cause),
            "correctly flagged": int(confusion.true_bad),
            "false alarm": int(confusion.false_bad),
            "missed": int(confusion.false_good),
            "correctly passed": int(confusion.true_good),
            **{f"answers: {name}": answers.get(cause, {}).get(name, 0) for name in DECISIONS},
        }
        for cause, confusion in result.confusion_by_cause().items()
    ])  # fmt: skip


def _named(named: Mapping[tuple[str, str], int]) -> pd.DataFrame:
    return pd.DataFrame([{"the model suspects": cause_name(suspected), "people say": cause_name(said), "answers": n}
                         for (suspected, said), n in named.items()])  # fmt: skip


def _look_again(stores: Stores, store: StudyStore, result: StudyResult, name: str) -> None:
    open_ = result.disputed
    st.caption(
        "Bins about which reviewers differ, someone is unsure, or the model says otherwise, the most ambiguous first. "
        "The verdict is shown, and your answer settles the bin in this study; it counts as a decision as well."
    )
    if not open_:
        st.success(f"Nothing to resolve: {count(len(result.settled), 'bin')} resolved.", icon=":material/done_all:")
        return
    st.markdown(f"**{count(len(open_), 'bin').capitalize()}** to resolve, {len(result.settled)} resolved")
    pid = open_[0]
    item = next(item for item in result.items if item.pid == pid and item.repeat_of is None)
    desk = shown_bin.desk()
    with desk.about:
        shown_bin.stored_verdict(stores, pid)
    with desk.charts:
        shown_bin.cloud(stores, data.read_scored(stores), pid, shown_bin.stream_of(stores, pid))
        shown_bin.around(data.read_scored(stores), pid, _clicked)
    with desk.doing:
        _settle(stores, store, item, name)
        # Hidden at first: who knows what was said before is drawn towards it.
        if address.switch("earlier", "Show earlier answers"):
            for other in result.reviewers:
                if pid in result.said_by(other):
                    st.markdown(f"{plain(other)}: {result.said_by(other)[pid]}{_rated(result, other, pid)}")
    shown_bin.worst_images(stores, pid)


def _rated(result: StudyResult, reviewer: str, pid: str) -> str:
    """How bad a reviewer rated a bin at its first showing, in brackets; nothing where that was not said."""
    mark = result.marks_by(reviewer).get(pid)
    return "" if mark is None else f" ({mark} of 100)"


def _settle(stores: Stores, store: StudyStore, item: Item, name: str) -> None:
    def settle(decision: Decision) -> None:
        now, note = datetime.now(tz=UTC), st.session_state.get(_NOTE, "")

        def keep() -> None:
            label_store(stores).add([Label(item.pid, decision, (), note, name, now, "study")])
            store.rate(Rating(item.id or 0, name, "again", decision, 0.0, now, note=note))

        _kept(keep)
        st.session_state[_NOTE] = ""

    with st.container(horizontal=True, gap="small"):
        for decision in DECISIONS:
            st.button(decision.capitalize(), icon=ICONS[decision], key=f"settle_{decision}", shortcut=KEYS[decision],
                      help=DECISIONS[decision], on_click=settle, args=(decision,))  # fmt: skip
    st.text_area("Note", key=_NOTE, max_chars=MAX_NOTE, height=68, placeholder="Why")


def _kept(keep: Callable[[], object]) -> None:
    try:
        keep()
    except FlowError as error:
        st.session_state[_SAID] = f"Not saved: {error}"


def _rate(rate: Rate) -> str:
    if math.isnan(rate.value):
        return "unknown"
    return f"{_share(rate.value)} ({100 * rate.low:.0f} to {100 * rate.high:.0f}) of {rate.n}"


def _kappa(kappa: Kappa) -> str:
    if kappa.n < _FEWEST:
        return f"too few ({count(kappa.n, 'bin')})"
    if math.isnan(kappa.value):
        return "unknown: one answer throughout"
    interval = "" if math.isnan(kappa.low) else f" ({kappa.low:.2f} to {kappa.high:.2f})"
    return f"{kappa.value:.2f}{interval}"


def _share(value: float) -> str:
    return "an unknown share" if math.isnan(value) else f"{100 * value:.0f} %"


_page()
