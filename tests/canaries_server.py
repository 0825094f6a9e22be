"""The canaries of argilla-server and its libraries; they are checked only in the server's environment."""

from tests.canaries import Canary, Group

GROUPS = [
    Group(
        "argilla_server",
        "read",
        "labeling.server.inside.interface",
        "the version is compared there at every start",
        {"_version": ""},
    ),
    Group(
        "argilla_server.webhooks.v1.records",
        "set",
        "labeling.server.inside.events",
        "every record would be loaded with its whole dataset for webhooks that nobody set up",
        {"build_record_event": "db record_event record"},
    ),
    Group(
        "argilla_server.webhooks.v1.responses",
        "set",
        "labeling.server.inside.events",
        "every answer would be loaded with its whole dataset for webhooks that nobody set up",
        {"build_response_event": "db response_event response"},
    ),
    Group(
        "argilla_server.contexts.webhooks",
        "called",
        "labeling.server.inside.events",
        "it tells whether a webhook waits for an event",
        {"list_enabled_webhooks": "db"},
    ),
    Group(
        "argilla_server.models.database",
        "set",
        "labeling.server.inside.shortcuts",
        "the schema of every question would be built anew for every record",
        {"TypeAdapter": ""},
    ),
    Group(
        "argilla_server.api.handlers.v1.jobs",
        "set",
        "labeling.server.inside.jobs",
        "a job's status would be asked of Redis, which is not there",
        {"Job": ""},
    ),
    Group(
        "rq.Queue",
        "set",
        "labeling.server.inside.jobs",
        "jobs would go to Redis, which is not there",
        {"enqueue_call": ""},
    ),
    Group("redis.Redis", "called", "labeling.server.inside.jobs", "the server asks it at its start", {"ping": ""}),
    Group(
        "uvicorn.Server",
        "overridden",
        "labeling.server.inside.boot",
        "no one would learn that the server is ready, and its write-ahead log would stay",
        {"startup": "sockets", "shutdown": "sockets"},
    ),
    Group(
        "uvicorn.Server", "set", "labeling.server.inside.boot", "an unused server would never end", {"should_exit": ""}
    ),
    Group(
        "argilla_server.search_engine.SearchEngine",
        "called",
        "labeling.server.inside.search",
        "the server finds our search by the name in its settings",
        {"register": "engine_name"},
    ),
    Group(
        "argilla_server.contexts.accounts",
        "called",
        "labeling.server.inside.database",
        "the owner's account is made to fit the secrets with these",
        {"get_user_by_username": "db username", "hash_password": "password", "update_user": "db user user_attrs"},
    ),
    Group(
        "argilla_server.settings.Settings",
        "read",
        "labeling.server.inside.connections",
        "connections would be limited to fifteen, and all further requests would wait",
        {"database_engine_args": ""},
    ),
    Group(
        "argilla_server.contexts.accounts",
        "called",
        "labeling.server.inside.logins",
        "a wrong name would be answered sooner than a wrong password",
        {"_dummy_verify": ""},
    ),
    Group(
        "argilla_server.contexts.accounts",
        "read",
        "labeling.server.inside.logins",
        "tokens would outlive a reset, and keys a new password",
        {"generate_user_token": "", "update_user": ""},
    ),
    Group(
        "argilla_server.security.authentication.db.BearerTokenAuthenticationBackend",
        "read",
        "labeling.server.inside.logins",
        "tokens would outlive a reset",
        {"authenticate": ""},
    ),
    Group(
        "argilla_server.security.authentication.db.APIKeyAuthenticationBackend",
        "read",
        "labeling.server.inside.shortcuts",
        "every request would look its key up in the database",
        {"authenticate": ""},
    ),
    Group(
        "argilla_server.contexts.accounts",
        "read",
        "labeling.server.inside.shortcuts",
        "every request would look its person up in the database",
        {"get_user_by_username": ""},
    ),
    Group(
        "argilla_server.models.User",
        "read",
        "labeling.server.inside.shortcuts",
        "every request would look its person's workspaces up in the database",
        {"is_member": ""},
    ),
    Group(
        "argilla_server.api.handlers.v1.datasets.datasets",
        "called",
        "labeling.server.inside.views",
        "it hides metadata that annotators must not see",
        {"_filter_metadata_properties_by_policy": ""},
    ),
]
SERVER: list[Canary] = [canary for group in GROUPS for canary in group.canaries()]
