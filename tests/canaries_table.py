"""The table of canaries: all unpromised names of libraries that we rely on; see also `canaries_server`."""

from tests.canaries import Canary, Group

TUNING = "pipeline.modeling.tuning"
REWARD = "pipeline.modeling.rewards.training"
TRAINING = "pipeline.modeling.training"
CHECKPOINTS = "pipeline.modeling.exact_checkpoints"
KTO = "pipeline.modeling.preferences.kto"
FIGURES = "pipeline.modeling.figures"
SHARDING = "pipeline.modeling.sharding"

PREPARED = "dataset processing_class args dataset_name"

GROUPS = [
    # -- TRL ---------------------------------------------------------------------------------------------------------
    Group(
        "trl.DPOTrainer",
        "overridden",
        TUNING,
        "TRL would compute the reference's log-probabilities again, in silence, from the policy as it stands there",
        {"_precompute_ref_logps": "dataset name batch_size"},
    ),
    Group(
        "trl.trainer.dpo_trainer",
        "set",
        TUNING,
        "TRL would hash all weights for a cache that is not used, and fail on a sharded model's",
        {"hash_module": "module"},
    ),
    Group(
        "trl.DPOTrainer",
        "overridden",
        TUNING,
        "TRL would tokenize rows that are token ids already",
        {"_prepare_dataset": PREPARED},
    ),
    Group(
        "trl.DPOTrainer",
        "set",
        TUNING,
        "micro batches would weigh alike, whatever they hold, and gradients would be another batch's",
        {"loss_weights": "", "router_aux_loss_coef": ""},
    ),
    Group(
        "trl.DPOTrainer",
        "overridden",
        TUNING,
        "transformers would drop the label noise of pairs",
        {"_set_signature_columns_if_needed": ""},
    ),
    Group(
        "trl.DPOTrainer",
        "set",
        TUNING,
        "transformers would drop the label noise of pairs",
        {"_signature_columns": ""},
    ),
    Group(
        "trl.DPOTrainer",
        "read",
        TUNING,
        "shares of the loss and the sums for weighted DPO follow these",
        {"loss_types": "", "use_weighting": ""},
    ),
    Group(
        "transformers.Trainer",
        "overridden",
        KTO,
        "transformers would drop the columns that marked answers are made of",
        {"_set_signature_columns_if_needed": ""},
    ),
    Group(
        "transformers.Trainer",
        "set",
        KTO,
        "transformers would drop the columns that marked answers are made of",
        {"_signature_columns": ""},
    ),
    Group(
        "transformers.Trainer",
        "called",
        KTO,
        "batches of the evaluation set are put on the device with it",
        {"_prepare_inputs": "inputs"},
    ),
    Group(
        "trl.RewardTrainer",
        "overridden",
        REWARD,
        "TRL would tokenize rankings, or drop the columns that they are made of",
        {"_prepare_dataset": PREPARED, "_set_signature_columns_if_needed": ""},
    ),
    Group(
        "trl.trainer.base_trainer._BaseTrainer",
        "called",
        CHECKPOINTS,
        "TRL would write a card into every checkpoint",
        {"create_model_card": ""},
    ),
    Group(
        "trl.RewardTrainer",
        "set",
        REWARD,
        "transformers would drop the columns that rankings are made of",
        {"_signature_columns": ""},
    ),
    Group("trl.DPOTrainer", "read", FIGURES, "batch means become exact means there", {"_metrics": ""}),
    Group("trl.SFTTrainer", "read", FIGURES, "batch means become exact means there", {"_metrics": ""}),
    Group("trl.RewardTrainer", "read", FIGURES, "batch means become exact means there", {"_metrics": ""}),
    Group(
        "trl.trainer.utils.FusedCausalLMOutput",
        "read",
        "pipeline.modeling.fused",
        "our log-probabilities are handed to TRL's losses in these fields",
        dict.fromkeys(
            ("log_probs", "log_sum_sq_probs", "entropy", "mean_logits", "is_top1", "label_mask", "aux_loss"), ""
        ),
    ),
    # -- transformers ------------------------------------------------------------------------------------------------
    Group(
        "transformers.Trainer",
        "overridden",
        CHECKPOINTS,
        "checkpoints would hold other weights than those that are trained, and the best one would not come back",
        {
            "_save": "output_dir state_dict",
            "_load_from_checkpoint": "resume_from_checkpoint model",
            "_load_best_model": "",
        },
    ),
    Group(
        "transformers.Trainer",
        "overridden",
        CHECKPOINTS,
        "a loss that is not finite would train on, and rows of the history would be other ones",
        {"training_step": "model inputs num_items_in_batch", "log": "logs start_time"},
    ),
    Group(
        "transformers.TrainingArguments",
        "set",
        CHECKPOINTS,
        "one process that sees several GPUs would multiply the batch by their number",
        {"_n_gpu": ""},
    ),
    Group(
        "transformers.Trainer",
        "overridden",
        SHARDING,
        "processes would repeat rows where a batch does not divide, and losses would depend on their number",
        {"get_train_dataloader": "", "get_eval_dataloader": "eval_dataset"},
    ),
    Group(
        "transformers.Trainer",
        "overridden",
        SHARDING,
        "rows that count for nothing would be counted among the training tokens",
        {"_track_num_input_tokens": "inputs"},
    ),
    Group(
        "transformers.Trainer",
        "called",
        SHARDING,
        "training tokens would not be counted",
        {"_track_num_input_tokens": "inputs"},
    ),
    Group(
        "transformers.Trainer",
        "overridden",
        CHECKPOINTS,
        "checkpoints of a sharded model would hold one process's part, and a resumed run would read all in each",
        {
            "create_optimizer": "model",
            "_save_optimizer_and_scheduler": "output_dir",
            "_load_optimizer_and_scheduler": "checkpoint",
        },
    ),
    Group(
        "transformers.Trainer",
        "overridden",
        CHECKPOINTS,
        "each process would hold the whole gradients of a sharded model",
        {"_defer_fsdp_gradient_reduction": ""},
    ),
    Group(
        "transformers.Trainer",
        "set",
        CHECKPOINTS,
        "a sharded model would be wrapped by DDP",
        {"is_distributed_loading_by_transformers": ""},
    ),
    Group(
        "transformers.Trainer",
        "overridden",
        FIGURES,
        "losses, gradients and figures would depend on the micro batch",
        {
            "compute_loss": "model inputs return_outputs num_items_in_batch",
            "get_batch_samples": "epoch_iterator num_batches device",
            "evaluation_loop": "dataloader description prediction_loss_only ignore_keys metric_key_prefix",
            "prediction_step": "model inputs prediction_loss_only ignore_keys",
        },
    ),
    Group(
        "transformers.Trainer",
        "set",
        FIGURES,
        "transformers would divide losses that are shares already by the number of micro batches",
        {"loss_is_scaled_for_ga": ""},
    ),
    Group(
        "transformers.Trainer",
        "called",
        FIGURES,
        "evaluation puts its rows on the device with these",
        {"_prepare_inputs": "inputs", "compute_loss_context_manager": ""},
    ),
    Group(
        "transformers.trainer_callback.CallbackHandler",
        "read",
        TRAINING,
        "milestones, marks of whole checkpoints and the check of gradients hang on these events",
        dict.fromkeys(("on_train_begin", "on_pre_optimizer_step", "on_step_end", "on_save", "on_log"), ""),
    ),
    Group(
        "transformers.AutoModel",
        "read",
        "pipeline.modeling.architecture",
        "the class of a reward model is found there",
        {"_model_mapping": ""},
    ),
    Group(
        "transformers.AutoModelForSequenceClassification",
        "read",
        "pipeline.modeling.architecture",
        "the class of a reward model is found there",
        {"_model_mapping": ""},
    ),
    Group(
        "transformers.modeling_layers.GradientCheckpointingLayer",
        "set",
        "pipeline.modeling.roles",
        "PPO would keep all activations instead of making them again",
        {"training": ""},
    ),
    Group(
        "transformers.models.mixtral.modeling_mixtral",
        "called",
        "pipeline.modeling.fused",
        "the loss that balances experts is computed there",
        {"load_balancing_loss_func": "gate_logits num_experts top_k attention_mask"},
    ),
    Group(
        "transformers.utils.chat_template_utils",
        "called",
        "pipeline.model_files.templates",
        "templates are tried out there before a stage runs",
        {"render_jinja_template": "conversations chat_template"},
    ),
    Group(
        "transformers.DynamicCache",
        "called",
        "pipeline.modeling.sampling",
        "PPO's sampler takes finished rows out of the cache there",
        {"reorder_cache": "beam_idx"},
    ),
    # -- torch -------------------------------------------------------------------------------------------------------
    Group(
        "torch.distributed.fsdp",
        "called",
        "pipeline.modeling.fsdp",
        "embeddings and head of a sharded model are whole where its parts are called one by one",
        {"register_fsdp_forward_method": "module method_name"},
    ),
    Group(
        "torch.nn.Module",
        "read",
        "pipeline.modeling.heads",
        "the head runs over given states because the transformer is exchanged there",
        {"_modules": ""},
    ),
    Group(
        "torch.nn.Module",
        "set",
        "pipeline.modeling.fused",
        "TRL's losses would use TRL's own log-probabilities, in silence, which are not those of the whole head",
        {"forward": ""},
    ),
    # -- peft and bitsandbytes ---------------------------------------------------------------------------------------
    Group(
        "peft.tuners.tuners_utils.BaseTunerLayer",
        "called",
        "pipeline.modeling.roles",
        "policy, reference and value model are switched there",
        {"set_adapter": "adapter_names inference_mode", "active_adapters": ""},
    ),
    Group(
        "peft.LoraModel",
        "called",
        "pipeline.modeling.adapters",
        "several adapters act at once by this",
        {"set_adapter": "adapter_name"},
    ),
    Group(
        "peft.utils.ModulesToSaveWrapper",
        "read",
        "pipeline.modeling.rewards.models",
        "the head that is trained is found there",
        {"modules_to_save": "", "active_adapters": ""},
    ),
    Group(
        "peft.PeftModel",
        "called",
        TUNING,
        "the copy of the adapter that TRL makes is taken out by this",
        {"delete_adapter": "adapter_name"},
    ),
    Group(
        "bitsandbytes.nn.Linear4bit",
        "set",
        "pipeline.modeling.policy",
        "on a CPU 4-bit weights would be repacked in place at the first pass, in silence, and be other weights",
        {"support_avx512bf16_for_cpu": ""},
    ),
    Group(
        "bitsandbytes.functional.QuantState",
        "read",
        "pipeline.modeling.architecture",
        "the memory that 4-bit weights take is counted there",
        {"absmax": "", "state2": "", "shape": ""},
    ),
    # -- datasets, the hub, Hydra, wandb -----------------------------------------------------------------------------
    Group(
        "datasets.data_files",
        "called",
        "pipeline.services.hub",
        "they tell which files of a repository belong to a split",
        {"get_data_patterns": "base_path", "sanitize_patterns": "patterns"},
    ),
    Group(
        "datasets.data_files.DataFilesPatternsList",
        "called",
        "pipeline.services.hub",
        "it finds a split's files",
        {"from_patterns": "patterns allowed_extensions", "resolve": "base_path"},
    ),
    Group(
        "datasets.utils.metadata.MetadataConfigs",
        "called",
        "pipeline.services.hub",
        "it reads a repository's subsets from its README",
        {"from_dataset_card_data": "dataset_card_data"},
    ),
    Group(
        "huggingface_hub.HfApi",
        "called",
        "pipeline.services.hub",
        "it tells the commit that a branch means, with and without a connection",
        {"resolve_revision": "repo_id repo_type revision local_files_only"},
    ),
    Group(
        "huggingface_hub.errors.HfHubHTTPError",
        "read",
        "pipeline.services.endpoints",
        "the server's own words and its status are in these",
        {"server_message": "", "response": ""},
    ),
    Group(
        "huggingface_hub.InferenceClient",
        "called",
        "pipeline.services.endpoints",
        "the address, the key and the header that keeps every other token out are given there",
        {"__init__": "base_url api_key headers timeout"},
    ),
    Group(
        "hydra.core.override_parser.overrides_parser.OverridesParser",
        "called",
        "pipeline.config.composing",
        "every override is read by it",
        {"create": "", "parse_override": "s"},
    ),
    Group(
        "hydra.core.override_parser.types.Override",
        "called",
        "pipeline.config.compose",
        "what a person wrote, and what it stands for, is read from these",
        dict.fromkeys(
            ("is_delete", "is_sweep_override", "get_key_element", "value", "sweep_string_iterator", "input_line"), ""
        ),
    ),
    Group(
        "hydra.core.config_loader.ConfigLoader",
        "called",
        "pipeline.config.composing",
        "it tells which options were chosen explicitly",
        {"compute_defaults_list": "config_name overrides run_mode"},
    ),
    Group(
        "hydra.core.plugins.Plugins",
        "called",
        "pipeline.commands.launching",
        "the requests of a sweep are run by the launcher that it makes",
        {"instantiate_launcher": "hydra_context task_function config"},
    ),
    Group(
        "hydra",
        "read",
        "pipeline.commands.launching",
        "a launcher calls Hydra's callbacks, of which there are none here",
        {"_internal": ""},
    ),
    Group(
        "wandb.Settings",
        "read",
        "pipeline.services.tracking",
        "wandb would refuse its settings, and tracking would be off with a remark as if there were no network",
        dict.fromkeys(
            ("console", "silent", "disable_git", "save_code", "init_timeout", "x_disable_meta", "x_disable_stats"), ""
        ),
    ),
    # -- Argilla's client, and the standard library ------------------------------------------------------------------
    Group(
        "argilla",
        "read",
        "labeling.argilla.client",
        "a refused key and a wrong address are told apart by the errors in it",
        {"_exceptions": ""},
    ),
    Group("argilla.Argilla", "read", "labeling.argilla.client", "all requests go through it", {"http_client": ""}),
    Group(
        "argparse",
        "read",
        "labeling.commands",
        "parsers and groups of options alike are annotated with it",
        {"_ActionsContainer": ""},
    ),
]
CANARIES: list[Canary] = [canary for group in GROUPS for canary in group.canaries()]
