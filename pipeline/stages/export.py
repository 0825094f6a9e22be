"""`export`: a model folder that transformers loads without changes, with a model card."""

from collections.abc import Mapping

from pipeline.config.nodes.models import ExportConfig
from pipeline.config.schema import PipelineConfig
from pipeline.files import write_atomically
from pipeline.stage import Metrics, Reference, Stage, StageContext, policy


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {"policy": policy(config, config.export.policy)}


def run(config: ExportConfig, context: StageContext) -> Metrics:
    from pipeline.modeling.export import export
    from pipeline.report.model_card import model_card
    from pipeline.stages import STAGES  # imported here because it imports this module

    artifact = context.inputs["policy"]
    exported = export(artifact, context.output_dir / "model", merge=config.merge)
    for remark in exported.remarks:
        context.say(remark)
    write_atomically(context.output_dir / "model" / "README.md", model_card(artifact, STAGES))
    context.say(f"from_pretrained({str(context.output_dir / 'model')!r})")
    return {"parameters": exported.parameters, "adapters": exported.adapters, "merged": float(config.merge)}


def summary(metrics: Mapping[str, float]) -> str:
    merged = f", {metrics['adapters']:.0f} adapters {'merged' if metrics['merged'] else 'kept apart'}"
    return f"{metrics['parameters'] / 1e6:.2f} M parameters" + (merged if metrics["adapters"] else "")


STAGE = Stage("export", ExportConfig, inputs, run, summary, version=3, is_side_branch=True)
