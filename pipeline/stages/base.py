"""`base`: trains the embedded tiny base model from scratch on texts of the playground."""

from collections.abc import Mapping

from pipeline.config.nodes.models import BaseConfig
from pipeline.config.schema import PipelineConfig
from pipeline.playground.texts import corpus
from pipeline.stage import Metrics, Reference, Stage, StageContext


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    return {}


def run(config: BaseConfig, context: StageContext) -> Metrics:
    from pipeline.modeling import pretraining, processes, training
    from pipeline.modeling.policy import device_of, save_policy
    from pipeline.modeling.sources import MODEL, PolicySource

    training.set_up_torch(context.runtime, config.seed)
    device = device_of(context.runtime.launch)
    texts = list(corpus(config.documents, seed=config.seed, world_seed=config.world_seed))
    tokenizer = processes.on_main(lambda: pretraining.train_tokenizer(texts, config))
    blocks = pretraining.pack_blocks(pretraining.tokenize_documents(texts, tokenizer), config.block_length, config.seed)
    model = pretraining.untrained_model(tokenizer, config)
    trainer = pretraining.base_trainer(model, blocks, config, context, device)
    history = training.train(trainer, context, "base", config.checkpoints)
    save_policy(model, tokenizer, context.output_dir / MODEL, PolicySource("", ""))
    return {
        "train_loss": training.mean_loss(history),
        "last_loss": history[-1]["loss"],
        "parameters": model.num_parameters(),
        **training.training_cost(trainer),
    }


def summary(metrics: Mapping[str, float]) -> str:
    return f"{metrics['parameters'] / 1e6:.2f} M parameters, last loss {metrics['last_loss']:.2f}"


STAGE = Stage(
    "base",
    BaseConfig,
    inputs,
    run,
    summary,
    makes="base model",
    label="Base",
    is_distributed=True,
    is_shared=True,
    is_side_branch=True,
)
