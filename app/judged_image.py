"""What the image model says of one image, and why: fault, oddness, known images like it, reasons."""

import streamlit as st

from app import charts, images
from app.theme import NO_FAULT, image_fault_name
from app.words import plain, two_digits
from ifcb_flow_pipeline.detection.images.explanations import Reason
from ifcb_flow_pipeline.judged_images import JudgedImages


def verdict(own: JudgedImages) -> None:
    """What the model says of the image, and why."""
    scores = own.scores
    if not scores.kind[0]:
        st.markdown("**Too small to judge**: no feature can be computed of so few pixels.")
        return
    likeliest, flagged = image_fault_name(own.likeliest(0)), bool(scores.flagged[0])
    badge = f":red-badge[{likeliest}]" if flagged else f":blue-badge[{NO_FAULT}]"
    also = "" if flagged else f", likeliest: {likeliest}"
    st.markdown(
        f"{badge} · probability of any fault **{_share(scores.fault_probability[0])}**{also} (a fault above "
        f"{_share(own.model.threshold(own.baseline.levels))})"
    )
    odd = ":orange-badge[unlike any known image] · " if scores.odd[0] else ""
    limit = max(own.model.card.odd_threshold, own.baseline.odd_limit)
    st.markdown(f"{odd}oddness **{scores.oddness[0]:.1f}** (odd above {limit:.1f})")
    _nearest(own)
    if reasons := own.reasons(0):
        st.markdown(f"**What speaks for {likeliest}**" + ", the likeliest fault" * (not flagged))
        st.html("".join(f'<p class="reason">{_reason(one)}</p>' for one in reasons))
    if own.baseline.levels is None:
        st.caption(
            "This instrument has too few healthy images to know its usual brightness and noise by, so dark, bright and "
            "faintly noisy images are not recognised."
        )


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if value > 0.95 else f"{100 * value:.0f} %"


def _nearest(own: JudgedImages) -> None:
    """Of which classes the known images are that this one is most like."""
    names = [images.class_words(one.class_name) for one in own.nearest_known(0)]
    if names:
        said = ", ".join(f"{names.count(name)} of {len(names)} {plain(name)}" for name in dict.fromkeys(names))
        st.caption(f"Nearest known images: {said}")


def _reason(reason: Reason) -> str:
    text = f"{reason.name[:1].upper()}{reason.name[1:]}"
    value, low, high = (two_digits(number) for number in (reason.value, reason.low, reason.high))
    said = f"{text}: {value}, normally {low} to {high}"
    return charts.on_range(f"{text}: {value} (normally {low} to {high})", said, (reason.value, reason.low, reason.high))
