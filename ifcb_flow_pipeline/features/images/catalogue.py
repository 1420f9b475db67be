"""Every image feature, declared once: name, family, unit, meaning, what it finds, source.

``kernels`` computes them. An image is brought to one background before anything is computed of it but ``background``,
``f_black`` and ``f_white``: its grey values are multiplied by BACKGROUND_LEVEL over the median of its border. Without
this step a model calls every other instrument dim. "Grey" below is the grey value after it.

``instrument``: the feature is a matter of the instrument more than of what it sees. It means something only beside the
usual value of the same instrument, and models use it only so (``detection.images.levels``).
"""

from dataclasses import dataclass
from typing import Literal

Family = Literal["size", "intensity", "background", "focus", "motion", "noise", "shape", "texture"]

_PROTOTYPE = "this project"
_PERTUZ = "Pertuz et al. 2013, Pattern Recognition 46: focus measures"
_IMMERKAER = "Immerkaer 1996, CVIU 64: noise"
_HARALICK = "Haralick et al. 1973"
_OJALA = "Ojala et al. 2002"
_WHOI = "WHOI ifcb-analysis, blob features"


@dataclass(frozen=True, slots=True)
class ImageFeature:
    """One number of an image. ``unit`` is empty for pure numbers; grey: grey values at the common background."""

    name: str
    family: Family
    unit: str
    meaning: str
    failure_mode: str
    source: str = _PROTOTYPE
    instrument: bool = False


CATALOGUE: tuple[ImageFeature, ...] = (
    ImageFeature("log_area", "size", "ln px", "ln of width x height", "cut boxes"),
    ImageFeature("log_aspect", "size", "", "ln of width over height", "cut boxes"),
    ImageFeature("mean", "intensity", "grey", "mean grey value", "shade, opaque dirt"),
    ImageFeature("sd", "intensity", "grey", "standard deviation of the grey values", "weak contrast, empty boxes"),
    ImageFeature("skew", "intensity", "", "third standardised moment", "opaque dirt, bubbles"),
    ImageFeature("kurt", "intensity", "", "fourth standardised moment (3 for a normal distribution), at most 200",
                 "empty boxes"),
    ImageFeature("p01", "intensity", "grey", "1 % quantile: the grey value at place floor(q (n - 1)) in their order",
                 "bubbles, weak contrast"),
    ImageFeature("p05", "intensity", "grey", "5 % quantile", "bubbles, opaque dirt"),
    ImageFeature("p25", "intensity", "grey", "25 % quantile", "uneven light, shade"),
    ImageFeature("p50", "intensity", "grey", "median", "uneven light, shade"),
    ImageFeature("p75", "intensity", "grey", "75 % quantile", "uneven light"),
    ImageFeature("p95", "intensity", "grey", "95 % quantile", "bubbles, saturation", instrument=True),
    ImageFeature("p99", "intensity", "grey", "99 % quantile", "bubbles, saturation", instrument=True),
    ImageFeature("entropy", "intensity", "nat", "entropy of the histogram, of grey values of the common background",
                 "few grey values: compression, weak contrast", instrument=True),
    ImageFeature("f_black", "intensity", "fraction", "pixels that are 0 in the file", "clipping", instrument=True),
    ImageFeature("f_white", "intensity", "fraction", "pixels that are 255 in the file", "saturation",
                 instrument=True),
    ImageFeature("background", "background", "grey in the file", "median of the ring of 2 px along the border",
                 "dim or bright flash", instrument=True),
    ImageFeature("bg_sd", "background", "grey", "1.4826 x median absolute deviation of the ring", "noise",
                 instrument=True),
    ImageFeature("bg_range", "background", "grey", "95 % less 5 % quantile of the ring", "uneven light, cut boxes"),
    ImageFeature("bg_noise", "background", "grey", "noise of background pixels only", "noise", _IMMERKAER,
                 instrument=True),
    ImageFeature("bg_grad_x", "background", "grey", "mean of the right two columns less that of the left two",
                 "uneven light"),
    ImageFeature("bg_grad_y", "background", "grey", "mean of the lowest two rows less that of the top two",
                 "uneven light"),
    ImageFeature("border_dip", "background", "grey", "deepest dip along a side of the border: mean of 2 x 3 px, below "
                 "that 8 px before and after it", "scratches"),
    ImageFeature("border_dip2", "background", "grey", "deepest dip along any other side", "scratches"),
    ImageFeature("lap_var", "focus", "ln grey^2", "variance of the Laplacian (4 neighbours)", "defocus, noise",
                 _PERTUZ),
    ImageFeature("tenengrad", "focus", "ln grey^2", "mean squared Sobel gradient / 16", "defocus, weak contrast",
                 _PERTUZ),
    ImageFeature("lap_norm", "focus", "", "lap_var less ln of the variance of the grey values", "defocus, noise",
                 _PERTUZ),
    ImageFeature("ten_norm", "focus", "", "tenengrad less ln of the variance of the grey values", "defocus", _PERTUZ),
    ImageFeature("grad_p99", "focus", "grey/px", "99 % quantile of the Sobel gradient / 4", "defocus, weak contrast",
                 _PERTUZ),
    ImageFeature("grad_p99_norm", "focus", "1/px", "grad_p99 over p99 - p01 (at least 4): edges against the contrast",
                 "defocus"),
    ImageFeature("pyr01", "focus", "", "ln of gradient energy at full over half resolution", "defocus, noise"),
    ImageFeature("pyr12", "focus", "", "the same at half over a quarter", "defocus"),
    ImageFeature("pyr23", "focus", "", "the same at a quarter over an eighth; of small images the ratio before",
                 "gross defocus"),
    ImageFeature("edge_x", "motion", "", "correlation of the gradient along x with itself 3 px on, over that 1 px on: "
                 "wide edges", "defocus, motion blur"),
    ImageFeature("edge_y", "motion", "", "the same along y", "defocus"),
    ImageFeature("smear_x", "motion", "", "lowest such correlation at 3 to 20 px along x: an edge comes back inverted",
                 "motion blur"),
    ImageFeature("smear_lag", "motion", "px", "shift of that lowest one", "motion blur"),
    ImageFeature("echo_x", "motion", "", "largest rise of such a correlation at 3 to 20 px above the lowest before it",
                 "ghost images"),
    ImageFeature("echo_lag", "motion", "px", "shift of that rise", "ghost images"),
    ImageFeature("smear_y", "motion", "", "smear_x along y, for comparison", "motion blur"),
    ImageFeature("echo_y", "motion", "", "echo_x along y, for comparison", "ghost images"),
    ImageFeature("anis", "motion", "", "ln of gradient energy along x over that along y", "motion blur"),
    ImageFeature("orient_c", "motion", "", "coherence of the structure tensor: 0 no direction, 1 one direction",
                 "motion blur, uneven light"),
    ImageFeature("noise", "noise", "grey", "mean |second difference in x and in y| / 6", "noise, compression",
                 _IMMERKAER, instrument=True),
    ImageFeature("block_x", "noise", "", "ln of steps along x at borders of 8 px over steps elsewhere", "compression"),
    ImageFeature("block_y", "noise", "", "the same along y", "compression"),
    ImageFeature("row_band", "noise", "grey", "mean |difference| of background means of neighbouring rows",
                 "camera link", instrument=True),
    ImageFeature("col_band", "noise", "grey", "the same for columns", "camera link", instrument=True),
    ImageFeature("even_odd", "noise", "grey", "|difference| of background means of even and odd rows", "camera link"),
    ImageFeature("obj_frac", "shape", "fraction", "object pixels: further from the background than 4 bg_sd and 8 grey",
                 "empty boxes, dirt", _WHOI),
    ImageFeature("n_blobs", "shape", "", "ln of 1 + blobs (8-connected) of 12 px or more", "dirt, noise", _WHOI),
    ImageFeature("blob1_frac", "shape", "fraction", "share of the largest blob in the object pixels", "dirt", _WHOI),
    ImageFeature("eccen", "shape", "", "eccentricity of the largest blob", "bubbles", _WHOI),
    ImageFeature("major", "shape", "ln px", "its major axis", "ghost images", _WHOI),
    ImageFeature("minor", "shape", "ln px", "its minor axis", "ghost images", _WHOI),
    ImageFeature("solidity", "shape", "", "its area over that of its convex hull", "bubbles, opaque dirt", _WHOI),
    ImageFeature("extent", "shape", "", "its area over that of its bounding box", "opaque dirt", _WHOI),
    ImageFeature("circ", "shape", "", "ln of 4 pi area / (border pixels)^2", "bubbles", _WHOI),
    ImageFeature("holes", "shape", "", "area that it encloses over its own, at most 20", "bubbles"),
    ImageFeature("touch", "shape", "fraction", "its pixels on the image's border, of the border", "cut boxes"),
    ImageFeature("bright_frac", "shape", "fraction", "object pixels that are brighter than the background",
                 "bubbles, saturation"),
    ImageFeature("contrast", "shape", "grey", "mean |grey - background| of object pixels", "weak contrast"),
    ImageFeature("ring_eta", "shape", "", "share of the grey variance that the distance from the blob's centre "
                 "explains (16 rings of equal area)", "bubbles"),
    ImageFeature("rad_sym", "shape", "", "darkness of the innermost ring relative to all rings, within +-20",
                 "bubbles"),
    ImageFeature("hu1", "shape", "", "ln of the first Hu moment of the blob", "ghost images", "Hu 1962"),
    ImageFeature("hu2", "shape", "", "ln of the second", "ghost images", "Hu 1962"),
    ImageFeature("border_runs", "shape", "", "ln of 1 + separate runs of object pixels round the image's border",
                 "scratches, cut boxes"),
    ImageFeature("glcm_con", "texture", "", "ln of the contrast of the co-occurrence matrix (16 classes, 1 px)",
                 "noise", _HARALICK),
    ImageFeature("glcm_hom", "texture", "", "its homogeneity", "noise", _HARALICK),
    ImageFeature("glcm_en", "texture", "", "its energy (root of the angular second moment)", "weak contrast",
                 _HARALICK),
    ImageFeature("glcm_cor", "texture", "", "its correlation", "noise", _HARALICK),
    *(ImageFeature(f"lbp{k}", "texture", "fraction", f"uniform local binary patterns with {k} of 8 neighbours as "
                   "bright or brighter", "compression, noise", _OJALA) for k in range(9)),
    ImageFeature("lbp9", "texture", "fraction", "local binary patterns that are not uniform", "compression, noise",
                 _OJALA),
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE)
