"""The table of stages, in the order of the chain. A new stage needs a module, a line here, and a node in the config."""

from pipeline.stage import Stage
from pipeline.stages import (
    abtest,
    base,
    blind,
    collect,
    compare,
    data,
    dpo,
    draft,
    evaluate,
    export,
    judge,
    kto,
    llm_judges,
    ppo,
    preferences,
    publish,
    reward,
    sample,
    sft,
    shard,
    synthesize,
)

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        base.STAGE,
        draft.STAGE,
        synthesize.STAGE,
        shard.STAGE,
        data.STAGE,
        sft.STAGE,
        sample.STAGE,
        publish.STAGE,
        collect.STAGE,
        preferences.STAGE,
        dpo.STAGE,
        kto.STAGE,
        reward.STAGE,
        judge.STAGE,
        ppo.STAGE,
        evaluate.STAGE,
        llm_judges.STAGE,
        blind.STAGE,
        abtest.STAGE,
        compare.STAGE,
        export.STAGE,
    )
}
