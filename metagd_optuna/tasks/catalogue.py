"""Metadata of the tasks that the package knows by name; nothing is loaded here.

Addresses, MD5s, classes and sizes of MedMNIST's files: ``medmnist/info.py`` of the package medmnist 3.0.2
(Zenodo record 10519652). CIFAR-10: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from metagd_optuna.contracts import MetaGDError
from metagd_optuna.given import as_given, nearest
from metagd_optuna.tasks.editions import EDITIONS, edition_of
from metagd_optuna.tasks.task import Sizes

DEFAULT_TASK = "breast_cancer"

_ZENODO = "https://zenodo.org/records/10519652/files/{name}.npz?download=1"
_CC_BY = "CC BY 4.0"
_MEDMNIST = (
    "Yang, J. et al., MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image "
    "classification, Scientific Data 10, 41 (2023), doi:10.1038/s41597-022-01721-8"
)
_ORGANS = (
    "btargets",
    "femur, left",
    "femur, right",
    "heart",
    "kidney, left",
    "kidney, right",
    "liver",
    "lung, left",
    "lung, right",
    "pancreas",
    "spleen",
)


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """What the catalogue knows about a task.

    Args:
        name: the name by which a study asks for it.
        title: the name that its authors gave it.
        modality: what was imaged, and how.
        kind: ``binary``, ``multi-class``, ``ordinal`` (trained as plain classes) or ``multi-label``.
        classes: class names, in the order of the labels.
        input_shape: shape (h, w, c) of one image, or (F,) of one row of features.
        sizes: images in the training, validation and test part.
        licence, citation: as its authors state them.
        file_name: name of the file that holds it; None if it comes with a package.
        url, md5: official address of that file, and the MD5 of its content.
        note: what a reader of its results should know.
        refusal: why it cannot be used, and what to use instead; empty for a usable task.
        package: that it comes with; empty if it has a file.
    """

    name: str
    title: str
    modality: str
    kind: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    sizes: Sizes
    licence: str
    citation: str
    file_name: str | None = None
    url: str | None = None
    md5: str | None = None
    note: str = ""
    refusal: str = ""
    package: str = ""


def find_entry(name: str) -> CatalogueEntry:
    """Return the catalogue's entry of that name, or that of a larger edition of it.

    Raises:
        MetaGDError: for an unknown name, with the nearest known one.

    >>> find_entry("breastmnist").classes, find_entry("breastmnist_64").input_shape
    (('malignant', 'normal or benign'), (64, 64, 1))
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if edition := edition_of(name):
        return _edition(*edition)
    near = nearest(name, [*CATALOGUE, *(f"{base}_{size}" for base, sizes in EDITIONS.items() for size in sizes)])
    guess = f"did you mean {near!r}? " if near else ""
    raise MetaGDError(
        f"unknown task {as_given(name)}; {guess}Known tasks: {', '.join(CATALOGUE)}; those of MedMNIST also with _64, "
        "_128 or _224 behind the name, for larger images. A file is named by its path with its ending, such as .npz, "
        "and a folder with a / at its end"
    )


def entry_of_file(md5: str) -> CatalogueEntry | None:
    """Return the entry, or the edition of one, whose official file has this MD5; None if there is none."""
    found = [entry for entry in CATALOGUE.values() if entry.md5 == md5]
    found += [_edition(name, size) for name, sizes in EDITIONS.items() for size, own in sizes.items() if own == md5]
    return found[0] if found else None


def _edition(base: str, size: int) -> CatalogueEntry:
    entry, name = CATALOGUE[base], f"{base}_{size}"
    return replace(
        entry,
        name=name,
        title=f"{entry.title} ({size} x {size})",
        input_shape=(size, size, entry.input_shape[2]),
        file_name=f"{name}.npz",
        url=_ZENODO.format(name=name),
        md5=EDITIONS[base][size],
        note="",  # what was found in the 28 x 28 edition was not looked for in this one
    )


def list_tasks() -> list[dict[str, str]]:
    """Return one row of texts per known task, in the catalogue's order, the default first.

    Keys: ``name``, ``modality``, ``kind``, ``classes``, ``image``, ``train / val / test``, ``licence``,
    ``source`` (``download``, the package that it comes with, or ``not supported``) and ``note``.

    >>> list_tasks()[0]["name"], list_tasks()[0]["image"], list_tasks()[0]["source"]
    ('breast_cancer', '20 x 21 x 1', 'scikit-learn')
    """
    return [
        {
            "name": entry.name,
            "modality": entry.modality,
            "kind": entry.kind,
            "classes": str(len(entry.classes)),
            "image": " x ".join(str(side) for side in entry.input_shape),
            "train / val / test": " / ".join(f"{size:,}" for size in entry.sizes),
            "licence": entry.licence,
            "source": "not supported" if entry.refusal else "download" if entry.url else entry.package,
            "note": entry.refusal or entry.note,
        }
        for entry in CATALOGUE.values()
    ]


def _medmnist(
    title: str,
    md5: str,
    sizes: tuple[int, int, int],
    channels: int,
    *,
    modality: str,
    classes: tuple[str, ...],
    kind: str = "multi-class",
    licence: str = _CC_BY,
    note: str = "",
    refusal: str = "",
) -> CatalogueEntry:
    name = title.lower()
    return CatalogueEntry(
        name=name,
        title=title,
        modality=modality,
        kind=kind,
        classes=classes,
        input_shape=(28, 28, channels),
        sizes=Sizes(*sizes),
        licence=licence,
        citation=_MEDMNIST,
        file_name=f"{name}.npz",
        url=_ZENODO.format(name=name),
        md5=md5,
        note=note,
        refusal=refusal,
    )


_ENTRIES = (
    CatalogueEntry(
        name="breast_cancer",
        title="Breast Cancer Wisconsin (Diagnostic)",
        modality="fine-needle aspirate of a breast mass, 30 measurements of cell nuclei",
        kind="binary",
        classes=("malignant", "benign"),
        input_shape=(20, 21, 1),
        sizes=Sizes(341, 114, 114),
        licence=_CC_BY,
        citation=(
            "Wolberg, W., Mangasarian, O., Street, N., Street, W., Breast Cancer Wisconsin (Diagnostic), "
            "UCI Machine Learning Repository (1993), doi:10.24432/C5DW2B"
        ),
        note="measurements drawn as an image: a quick, easy task that needs no network, not an imaging benchmark",
        package="scikit-learn",
    ),
    CatalogueEntry(
        name="gbsg2",
        title="German Breast Cancer Study Group 2",
        modality="breast cancer, eight columns known at the beginning; recurrence or death within two years",
        kind="binary",
        classes=("no recurrence", "recurrence"),
        input_shape=(12,),
        sizes=Sizes(374, 124, 125),
        licence="MIT, as part of lifelines",
        citation=(
            "Schumacher, M. et al., Randomized 2 x 2 trial evaluating hormonal treatment and the duration of "
            "chemotherapy in node-positive breast cancer patients, Journal of Clinical Oncology 12, 2086-2093 (1994)"
        ),
        note="63 of 686 women, who were followed for less than two years without an event, are left out",
        package="lifelines",
    ),
    _medmnist(
        "BreastMNIST",
        "750601b1f35ba3300ea97c75c52ff8f6",
        (546, 78, 156),
        1,
        modality="breast ultrasound",
        kind="binary",
        classes=("malignant", "normal or benign"),
    ),
    _medmnist(
        "PneumoniaMNIST",
        "28209eda62fecd6e6a2d98b1501bb15f",
        (4708, 524, 624),
        1,
        modality="chest X-ray of children",
        kind="binary",
        classes=("normal", "pneumonia"),
    ),
    _medmnist(
        "RetinaMNIST",
        "bd4c0672f1bba3e3a89f0e4e876791e4",
        (1080, 120, 400),
        3,
        modality="fundus photograph",
        kind="ordinal",
        classes=tuple(f"retinopathy grade {grade}" for grade in range(5)),
        note="grades are ordered; they are trained as plain classes",
    ),
    _medmnist(
        "BloodMNIST",
        "7053d0359d879ad8a5505303e11de1dc",
        (11959, 1712, 3421),
        3,
        modality="microscopy of blood cells",
        classes=(
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocyte",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
    ),
    _medmnist(
        "DermaMNIST",
        "0744692d530f8e62ec473284d019b0c7",
        (7007, 1003, 2005),
        3,
        modality="dermatoscopy of pigmented skin lesions",
        classes=(
            "actinic keratosis or intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesion",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevus",
            "vascular lesion",
        ),
        licence="CC BY-NC 4.0",
        note="not for commercial use; images of one lesion occur in several parts, so its test scores are too good",
    ),
    _medmnist(
        "OCTMNIST",
        "c68d92d5b585d8d81f7112f81e2d0842",
        (97477, 10832, 1000),
        1,
        modality="retinal optical coherence tomography",
        classes=("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    _medmnist(
        "PathMNIST",
        "a8b06965200029087d5bd730944a56c1",
        (89996, 10004, 7180),
        3,
        modality="histology of colorectal cancer",
        classes=(
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        note="the test part comes from another clinical centre than the other two",
    ),
    _medmnist(
        "TissueMNIST",
        "ebe78ee8b05294063de985d821c1c34b",
        (165466, 23640, 47280),
        1,
        modality="microscopy of kidney cortex cells",
        classes=(
            "collecting duct, connecting tubule",
            "distal convoluted tubule",
            "glomerular endothelial cells",
            "interstitial endothelial cells",
            "leukocytes",
            "podocytes",
            "proximal tubule segments",
            "thick ascending limb",
        ),
    ),
    _medmnist(
        "OrganAMNIST",
        "68e3f8846a6bd62f0c9bf841c0d9eacc",
        (34561, 6491, 17778),
        1,
        modality="abdominal CT, axial",
        classes=_ORGANS,
    ),
    _medmnist(
        "OrganCMNIST",
        "b9ceb9546e10131b32923c5bbeaea2b1",
        (12975, 2392, 8216),
        1,
        modality="abdominal CT, coronal",
        classes=_ORGANS,
    ),
    _medmnist(
        "OrganSMNIST",
        "9ab87b696fb54e2a387ebe992d6ed5f1",
        (13932, 2452, 8827),
        1,
        modality="abdominal CT, sagittal",
        classes=_ORGANS,
    ),
    _medmnist(
        "ChestMNIST",
        "02c8a6516a18b556561a56cbdd36c4a8",
        (78468, 11219, 22433),
        1,
        modality="chest X-ray",
        kind="multi-label",
        classes=(
            "atelectasis",
            "cardiomegaly",
            "effusion",
            "infiltration",
            "mass",
            "nodule",
            "pneumonia",
            "pneumothorax",
            "consolidation",
            "edema",
            "emphysema",
            "fibrosis",
            "pleural thickening",
            "hernia",
        ),
        refusal=(
            "it is multi-label: an image can show any of 14 findings, or none, and this package trains with exactly "
            "one class per image. (Its published accuracy of 0.947 is that of predicting nothing at all.) "
            'Take one finding at a time from its file, { path = "chestmnist.npz", target = "6" } for pneumonia, or use '
            "pneumoniamnist"
        ),
    ),
    CatalogueEntry(
        name="cifar10",
        title="CIFAR-10",
        modality="photographs; not medical, a stand-in that the literature shares",
        kind="multi-class",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        input_shape=(32, 32, 3),
        sizes=Sizes(45000, 5000, 10000),
        licence="none stated by its authors, who ask to be cited",
        citation="Krizhevsky, A., Learning multiple layers of features from tiny images, technical report (2009)",
        file_name="cifar-10-binary.tar.gz",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        note="validation is a stratified tenth of the official training part",
    ),
)

CATALOGUE: dict[str, CatalogueEntry] = {entry.name: entry for entry in _ENTRIES}
