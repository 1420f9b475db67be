"""The image models on disk: kept as those of features (``store.models``), with a ready one until one is promoted."""

from dataclasses import dataclass

from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.detection.images.model_card import ImageModelCard
from ifcb_flow_pipeline.store.daily import replacing
from ifcb_flow_pipeline.store.image_files import read_image_model, ready_model, write_image_model
from ifcb_flow_pipeline.store.models import CURRENT, KeptModels, checked_id


@dataclass(frozen=True, slots=True)
class ImageModelStore(KeptModels):
    """The models that judge images. With none in use, the one that comes with the package is."""

    job = "retrain_images"

    def save(self, model: ImageModel) -> None:
        """Keep a model under its id, in place of what is there under it."""
        folder = self.root / checked_id(model.card.model_id)
        write_image_model(folder / "model.npz", model)
        with replacing(folder / "card.json") as temporary:
            temporary.write_text(model.card.to_json())

    def load(self, model_id: str = CURRENT) -> ImageModel:
        """A kept model, or the ready one. Raises ModelError, naming the remedy, where it is damaged or none."""
        if model_id == CURRENT and self.current_id() is None:
            return ready_model()
        return read_image_model(self._existing(model_id, "model.npz"))

    def card(self, model_id: str = CURRENT) -> ImageModelCard:
        """The card of a kept model, or of the ready one. Raises ModelError, naming the remedy, where there is none."""
        return self.load(model_id).card
