"""Action: one thing an agent tried or did. Flat, so that a field of a rule is a column of a batch.

A field `tool_name` is `tool.name` in a Sigma rule, a column `tool_name` in an Arrow batch and in
ClickHouse. What a producer sends beyond these fields is kept in `attributes`, so nothing is lost
when it is newer than us.
"""

from datetime import datetime
from typing import Annotated, Literal, get_args

from tachograph.schemas.fields import Record, doc

Kind = Literal[
    "prompt", "completion", "tool_call", "tool_result", "tool_listing", "retrieval",
    "memory_read", "memory_write", "file", "http", "process", "message", "agent_call",
    "policy_decision", "approval", "guardrail", "control", "config_change", "code_change",
    "artifact", "train", "index", "deploy", "evaluation", "heartbeat", "other",
]  # fmt: skip
Outcome = Literal["succeeded", "failed", "denied", "cancelled", "unknown"]
Attempt = Literal["requested", "executed"]
Trust = Literal["system", "user", "trusted", "untrusted", "unknown"]
ToolRisk = Literal["read", "write", "destructive", "egress", "execute", "unknown"]
Assurance = Literal["authenticated", "acl", "asserted", "inferred"]

KINDS: tuple[str, ...] = get_args(Kind)

Text = str | None
Whole = int | None
Real = float | None
Flag = bool | None
Texts = list[str] | None
Time = datetime | None


class Action(Record, frozen=True, kw_only=True):
    """One thing an agent tried or did. Only `kind` and `event_time` are asked of a producer."""

    # Identity and place. `normalize` fills these; what a producer writes into them is ignored.
    event_id: Annotated[Text, doc("keyed hash that identifies this action for ever")] = None
    tenant: Annotated[Text, doc("whose data this is; part of every id and key")] = None
    partition_key: Annotated[
        Text, doc("service identity or native agent id: fixes the partition")
    ] = None
    raw_topic: Annotated[Text, doc("topic of the raw record")] = None
    raw_partition: Annotated[Whole, doc("partition of the raw record")] = None
    raw_offset: Annotated[Whole, doc("offset of the raw record")] = None
    raw_index: Annotated[Whole, doc("place of this action inside the raw record, from 0")] = None
    twin_key: Annotated[Text, doc("equal for two reports of one action (SDK and gateway)")] = None
    assurance: Annotated[Assurance | None, doc("how far the claimed identity is proved")] = None
    authenticated_as: Annotated[Text, doc("principal that the door authenticated")] = None
    identity_mismatch: Annotated[
        Flag, doc("who sent it may not speak for the agent that it names")
    ] = None
    late: Annotated[Flag, doc("event_time is before observed_time less the allowed lateness")] = (
        None
    )
    far: Annotated[Flag, doc("event_time is beyond the stated bounds around observed_time")] = None
    redactions: Annotated[
        Texts, doc("types of the secrets and personal values replaced by tokens")
    ] = None
    truncated: Annotated[Texts, doc("fields cut at their size limit")] = None

    # What and when.
    kind: Annotated[Kind | None, doc("what was done")] = None
    event_time: Annotated[Time, doc("when it ended", "UTC, microseconds")] = None
    observed_time: Annotated[Time, doc("when our first hop received it", "UTC, microseconds")] = (
        None
    )
    start_time: Annotated[Time, doc("when it began", "UTC, microseconds")] = None
    duration_ms: Annotated[Real, doc("end less start", "ms")] = None
    operation: Annotated[Text, doc("gen_ai.operation.name or the source's own event name")] = None
    attempt: Annotated[Attempt | None, doc("asked for, or carried out")] = None
    outcome: Annotated[Outcome | None, doc("how it ended; apart from the attempt")] = None
    error_type: Annotated[Text, doc("class of the error (error.type)")] = None
    error_message: Annotated[Text, doc("text of the error")] = None
    synthetic: Annotated[Flag, doc("made by a generator, not by an agent")] = None
    replay: Annotated[Flag, doc("sent again on purpose: neither notifies nor contains")] = None
    environment: Annotated[Text, doc("deployment environment: prod, staging, dev …")] = None
    source_kind: Annotated[Text, doc("otlp_span, otlp_log, native or a gateway's format")] = None
    source_id: Annotated[
        Text, doc("who reported it: instrumentation scope, gateway, collector")
    ] = None
    producer_id: Annotated[
        Text, doc("the producer's own id of this action; SDKs set it before the first send")
    ] = None

    # On whose behalf.
    principal_id: Annotated[Text, doc("human or workload the agent acts for")] = None
    principal_type: Annotated[Text, doc("human, service, agent or unknown")] = None
    principal_role: Annotated[Text, doc("role of the principal")] = None
    principal_entitlements: Annotated[Texts, doc("rights of the principal")] = None
    agent_id: Annotated[Text, doc("stable id of the agent")] = None
    agent_name: Annotated[Text, doc("name of the agent (gen_ai.agent.name)")] = None
    agent_kind: Annotated[Text, doc("interactive, autonomous, ci, coding …")] = None
    agent_version: Annotated[Text, doc("version of the agent or of its service")] = None
    agent_role: Annotated[Text, doc("planner, worker, reviewer …")] = None
    agent_instance_id: Annotated[Text, doc("one running process of the agent")] = None
    agent_framework: Annotated[Text, doc("framework or instrumentation")] = None
    agent_owner: Annotated[Text, doc("team that answers for the agent")] = None
    agent_purpose: Annotated[Text, doc("declared purpose (charter)")] = None
    agent_prompt_hash: Annotated[Text, doc("hash of the system prompt")] = None
    agent_privilege_tier: Annotated[Text, doc("declared risk or privilege tier")] = None
    agent_workspace: Annotated[Text, doc("workspace or directory the agent works in")] = None
    parent_agent_id: Annotated[Text, doc("agent that started this one")] = None
    peer_agent_id: Annotated[Text, doc("agent at the other end of a message")] = None
    peer_card_hash: Annotated[Text, doc("hash of the peer's agent card")] = None
    delegation_chain: Annotated[Texts, doc("principals and agents from the root to this one")] = (
        None
    )
    delegation_depth: Annotated[Whole, doc("length of the delegation chain")] = None
    service_name: Annotated[Text, doc("OTLP service.name")] = None
    host_name: Annotated[Text, doc("host the agent runs on")] = None
    container_id: Annotated[Text, doc("container the agent runs in")] = None

    # Where in a conversation.
    session_id: Annotated[Text, doc("conversation id, else the trace id")] = None
    root_session_id: Annotated[Text, doc("session at the root of a delegation")] = None
    session_trigger: Annotated[
        Text, doc("what started the session: human, schedule, webhook …")
    ] = None
    trace_id: Annotated[Text, doc("W3C trace id, hex")] = None
    span_id: Annotated[Text, doc("W3C span id, hex")] = None
    parent_span_id: Annotated[Text, doc("span id of the parent, hex")] = None
    sequence: Annotated[Whole, doc("the source's own running number")] = None
    sequence_epoch: Annotated[Text, doc("restart of the source that `sequence` counts from")] = None
    prev_hash: Annotated[Text, doc("hash of the source's previous record")] = None
    record_hash: Annotated[Text, doc("hash of this record by its source")] = None
    signature: Annotated[Text, doc("signature of this record by its source")] = None
    turn_id: Annotated[Text, doc("id that ties the actions of one user turn")] = None

    # Tools.
    tool_name: Annotated[Text, doc("name of the tool")] = None
    tool_type: Annotated[Text, doc("function, extension, datastore, builtin, mcp …")] = None
    tool_server: Annotated[Text, doc("MCP server or service that offers the tool")] = None
    tool_call_id: Annotated[Text, doc("id of the call")] = None
    tool_args: Annotated[Text, doc("arguments as JSON text; tool.args.x reads one of them")] = None
    tool_args_hash: Annotated[Text, doc("keyed hash of the canonical arguments")] = None
    tool_result: Annotated[Text, doc("what the tool answered, as text")] = None
    tool_result_hash: Annotated[Text, doc("keyed hash of the result")] = None
    tool_result_bytes: Annotated[Whole, doc("size of the result at the source", "bytes")] = None
    tool_bytes_out: Annotated[Whole, doc("data sent out by the tool", "bytes")] = None
    tool_rows_returned: Annotated[Whole, doc("rows the tool read", "rows")] = None
    tool_rows_affected: Annotated[Whole, doc("rows or objects the tool changed", "rows")] = None
    tool_description: Annotated[Text, doc("description shown to the model")] = None
    tool_schema: Annotated[Text, doc("parameter schema as JSON text")] = None
    tool_definition_hash: Annotated[Text, doc("hash of name, description and schema")] = None
    tool_definitions: Annotated[Text, doc("tools offered to the model, as JSON text")] = None
    tool_risk: Annotated[ToolRisk | None, doc("class of the tool: what it can do")] = None
    tool_approval_mode: Annotated[Text, doc("auto, ask, never …")] = None
    mcp_method: Annotated[Text, doc("MCP method (tools/call …)")] = None
    mcp_protocol_version: Annotated[Text, doc("MCP protocol version")] = None
    transport: Annotated[Text, doc("pipe, tcp, quic …")] = None

    # What it was done to.
    target_resource: Annotated[Text, doc("resource acted on")] = None
    target_resource_type: Annotated[Text, doc("kind of the resource: bucket, table, backup …")] = (
        None
    )
    target_host: Annotated[Text, doc("host acted on")] = None
    target_domain: Annotated[Text, doc("domain acted on or sent to")] = None
    target_ip: Annotated[Text, doc("address acted on")] = None
    target_port: Annotated[Whole, doc("port acted on")] = None
    target_url: Annotated[Text, doc("URL acted on")] = None
    target_account: Annotated[Text, doc("account, project or tenant acted on")] = None
    target_env: Annotated[Text, doc("environment of the target: prod …")] = None
    target_repo: Annotated[Text, doc("repository acted on")] = None
    target_branch: Annotated[Text, doc("branch acted on")] = None
    target_table: Annotated[Text, doc("table acted on")] = None
    target_visibility: Annotated[Text, doc("public, private …")] = None
    recipients: Annotated[Texts, doc("addressees of a message")] = None
    recipient_count: Annotated[Whole, doc("number of addressees")] = None
    amount: Annotated[Real, doc("money moved", "currency")] = None
    currency: Annotated[Text, doc("ISO 4217 code of `amount`")] = None
    src_ip: Annotated[Text, doc("address the action came from")] = None
    src_asn: Annotated[Text, doc("autonomous system it came from")] = None
    src_country: Annotated[Text, doc("country it came from")] = None
    user_agent: Annotated[Text, doc("client software, as it calls itself")] = None
    tls_fingerprint: Annotated[Text, doc("JA3/JA4 of the client")] = None
    device_fingerprint: Annotated[Text, doc("fingerprint of the device")] = None
    http_method: Annotated[Text, doc("HTTP method")] = None
    http_status: Annotated[Whole, doc("HTTP status code")] = None
    api_operation: Annotated[Text, doc("operation of a cloud or SaaS API")] = None
    gateway_request_id: Annotated[Text, doc("request id of the AI gateway")] = None
    process_name: Annotated[Text, doc("executable")] = None
    process_command_line: Annotated[Text, doc("command line or script that was run")] = None
    process_parent: Annotated[Text, doc("parent process")] = None
    process_exit_code: Annotated[Whole, doc("exit code")] = None
    file_path: Annotated[Text, doc("file acted on")] = None
    file_hash: Annotated[Text, doc("hash of the file")] = None
    file_op: Annotated[Text, doc("read, write, delete …")] = None

    # Content.
    content_text: Annotated[
        Text, doc("the words of a prompt, completion, document, message or log")
    ] = None
    content_role: Annotated[Text, doc("system, user, assistant or tool")] = None
    content_direction: Annotated[Text, doc("in (to the model) or out (from it)")] = None
    content_trust: Annotated[Trust | None, doc("how far the origin of the content is trusted")] = (
        None
    )
    content_labels: Annotated[
        Texts, doc("data classes of the content: secret, pii, confidential …")
    ] = None
    content_source: Annotated[Text, doc("where the content came from")] = None
    content_hash: Annotated[Text, doc("keyed hash of the content")] = None
    content_bytes: Annotated[Whole, doc("size of the content at the source", "bytes")] = None
    content_urls: Annotated[Texts, doc("URLs in the content")] = None
    content_category: Annotated[Text, doc("category given by a classifier")] = None
    content_language: Annotated[Text, doc("BCP 47 language")] = None
    system_instructions: Annotated[Text, doc("system prompt as sent, text or JSON text")] = None
    input_messages: Annotated[
        Text, doc("messages into the model, JSON text (gen_ai.input.messages)")
    ] = None
    output_messages: Annotated[Text, doc("messages out of the model, JSON text")] = None
    finish_reasons: Annotated[Texts, doc("why the model stopped")] = None
    guardrail_id: Annotated[Text, doc("guardrail attached to the call")] = None
    guardrail_name: Annotated[Text, doc("guardrail that judged the content")] = None
    guardrail_verdict: Annotated[Text, doc("pass, flag, block …")] = None
    guardrail_score: Annotated[Real, doc("score of the guardrail", "0 to 1")] = None
    guardrail_error: Annotated[Text, doc("why the guardrail gave no verdict")] = None
    guardrail_mode: Annotated[Text, doc("enforce, monitor, off")] = None
    guardrail_config_hash: Annotated[Text, doc("hash of the guardrail's settings")] = None
    canary_id: Annotated[Text, doc("planted token seen in the content")] = None
    secret_types: Annotated[Texts, doc("types of secrets seen, before redaction")] = None
    secret_fingerprints: Annotated[Texts, doc("keyed fingerprints of secrets seen")] = None

    # Memory and retrieval.
    memory_op: Annotated[Text, doc("read, write, update, delete, search")] = None
    memory_key: Annotated[Text, doc("key of the memory entry")] = None
    memory_scope: Annotated[Text, doc("session, user, shared, global")] = None
    memory_value: Annotated[Text, doc("value of the memory entry")] = None
    memory_store: Annotated[Text, doc("store of the memory entry")] = None
    memory_source_trust: Annotated[Text, doc("trust of what was remembered")] = None
    retrieval_query: Annotated[Text, doc("query of a retrieval")] = None
    retrieval_doc_ids: Annotated[Texts, doc("documents retrieved")] = None
    retrieval_store: Annotated[Text, doc("data source retrieved from")] = None

    # Models, usage and cost.
    model_name: Annotated[Text, doc("model asked for")] = None
    model_served: Annotated[Text, doc("model that answered")] = None
    model_provider: Annotated[Text, doc("gen_ai.provider.name")] = None
    model_version: Annotated[Text, doc("version or revision of the model")] = None
    model_region: Annotated[Text, doc("region of the model endpoint")] = None
    model_base_url: Annotated[Text, doc("endpoint of the model")] = None
    model_fingerprint: Annotated[Text, doc("system fingerprint of the model")] = None
    model_settings: Annotated[Text, doc("temperature, limits … as JSON text")] = None
    usage_input_tokens: Annotated[Whole, doc("tokens in, cached ones included", "tokens")] = None
    usage_output_tokens: Annotated[Whole, doc("tokens out", "tokens")] = None
    usage_cached_tokens: Annotated[Whole, doc("tokens read from a cache", "tokens")] = None
    usage_reasoning_tokens: Annotated[Whole, doc("tokens of hidden reasoning", "tokens")] = None
    usage_cost_usd: Annotated[Real, doc("cost of the action", "USD")] = None
    context_tokens_used: Annotated[Whole, doc("context window in use", "tokens")] = None
    context_limit: Annotated[Whole, doc("size of the context window", "tokens")] = None

    # Credentials, policy, approval and control.
    credential_id: Annotated[Text, doc("id of the credential used, never the secret")] = None
    credential_fingerprint: Annotated[Text, doc("keyed fingerprint of the credential")] = None
    credential_scopes: Annotated[Texts, doc("scopes of the credential")] = None
    credential_audience: Annotated[Text, doc("audience of the credential")] = None
    credential_owner: Annotated[Text, doc("who the credential was issued to")] = None
    policy_id: Annotated[Text, doc("policy that decided")] = None
    policy_version: Annotated[Text, doc("version of the policy")] = None
    policy_decision: Annotated[Text, doc("allow, deny, require_approval")] = None
    policy_reason: Annotated[Text, doc("reason of the decision")] = None
    approval_id: Annotated[Text, doc("approval bound to the action")] = None
    approval_decision: Annotated[Text, doc("approved or refused")] = None
    approval_actor: Annotated[Text, doc("who approved")] = None
    approval_args_hash: Annotated[Text, doc("hash of the arguments that were approved")] = None
    approval_definition_hash: Annotated[Text, doc("tool definition hash that was approved")] = None
    approval_latency_ms: Annotated[Real, doc("time the approver took", "ms")] = None
    control_id: Annotated[Text, doc("control that was acted on")] = None
    control_action: Annotated[Text, doc("stop, quarantine, revoke, throttle …")] = None
    control_state: Annotated[Text, doc("enabled, disabled …")] = None

    # Artifacts, changes, training and delivery.
    artifact_name: Annotated[Text, doc("package, model, image or skill")] = None
    artifact_version: Annotated[Text, doc("version of the artifact")] = None
    artifact_type: Annotated[Text, doc("pypi, npm, model, image, skill …")] = None
    artifact_digest: Annotated[Text, doc("digest of the artifact")] = None
    artifact_publisher: Annotated[Text, doc("publisher of the artifact")] = None
    artifact_registry: Annotated[Text, doc("where the artifact came from")] = None
    artifact_license: Annotated[Text, doc("licence of the artifact")] = None
    artifact_signed: Annotated[Flag, doc("a valid signature was seen")] = None
    artifact_age_days: Annotated[Real, doc("age of the artifact", "days")] = None
    change_actor: Annotated[Text, doc("who made the change")] = None
    change_actor_kind: Annotated[Text, doc("human, agent, service")] = None
    change_author_kind: Annotated[Text, doc("human, agent or mixed authorship")] = None
    change_action: Annotated[Text, doc("create, update, delete, disable …")] = None
    change_files: Annotated[Texts, doc("files the change touches")] = None
    change_diff: Annotated[Text, doc("diff of the change")] = None
    pipeline_id: Annotated[Text, doc("CI or training pipeline")] = None
    deploy_id: Annotated[Text, doc("deployment")] = None
    train_run_id: Annotated[Text, doc("training or fine-tuning run")] = None
    dataset_id: Annotated[Text, doc("data set trained, indexed or evaluated on")] = None
    index_id: Annotated[Text, doc("vector index written or read")] = None
    vector_op: Annotated[Text, doc("upsert, delete, query")] = None
    eval_name: Annotated[Text, doc("evaluation")] = None
    eval_score: Annotated[Real, doc("score of the evaluation")] = None
    scan_finding: Annotated[Text, doc("finding of a scanner")] = None
    scan_severity: Annotated[Text, doc("severity of the finding")] = None

    tags: Annotated[Texts, doc("labels of the producer")] = None
    attributes: Annotated[
        dict[str, str] | None, doc("everything else the producer sent: name to text or JSON text")
    ] = None
