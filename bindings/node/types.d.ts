// Records and arguments as the platform describes them. Made by `scripts/types.mjs`; do not edit.

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** A part of a list. */
export interface Page<T> {
  /** The items. */
  items: T[]
  /** Where the next page begins; null on the last one. */
  next: string | null
}

/** Whose account at the vendor an integration is connected to. */
export interface Account {
  /** The vendor's id of it, which does not change. */
  id: string
  /** How the vendor shows it. */
  name: string | null
}

/** Who did something: a type (`user`, `agent`, `operator`, `system`) and an id in text form. */
export interface Actor {
  /** The id in text form; for an operator the name the host gave. */
  id: string
  /** `user`, `agent`, `operator` or `system`. */
  type: string
}

/** The first admin of a tenant. */
export interface AdminCreateArguments {
  /** The e-mail address, unique within the tenant. */
  email: string
  /** The full name, 1 to 255 characters. */
  name?: string | null
  /** Roles besides `tenant_admin`, at most 63. */
  roles?: Role[] | null
  /** The tenant. */
  tenant: TenantId
}

/** An agent by id. */
export interface AgentByIdArguments {
  /** The agent. */
  agent: AgentId
}

/** A new version of an agent. */
export interface AgentChangeArguments {
  /** The agent. */
  agent: AgentId
  /** The specification. */
  spec: AgentSpecInput
}

/** An id of the form `agt_<uuid>`. */
export type AgentId = string

/** Which agents to list. */
export interface AgentListArguments {
  /** Where the page begins: `next` of the one before. */
  after?: Cursor | null
  /** At most this many items, 1 to 100; default 20. */
  limit?: number | null
  /** Only those in this state. */
  state?: AgentState | null
}

/** An agent: a name, a state and aliases over immutable versions. */
export interface AgentRecord {
  /** Names for versions; `LIVE` is the one runs start on. */
  aliases: Record<string, VersionHash>
  /** When it was made. */
  createdAt: Timestamp
  /** Who made it. */
  createdBy: UserId
  /** The id. */
  id: AgentId
  /** The version that was added last. */
  latest: VersionHash
  /** The name, unique within the tenant. */
  name: string
  /** The project it belongs to. */
  projectId: ProjectId | null
  /** Counts its changes. */
  revision: number
  /** Where it is in the definition lifecycle. */
  state: AgentState
  /** When it was last changed. */
  updatedAt: Timestamp
}

/** An older version to be made live. */
export interface AgentRollbackArguments {
  /** The agent. */
  agent: AgentId
  /** The version. */
  to: VersionHash
}

/**
 * What an agent is. Absent and default fields stay out of the canonical form, so that adding a field later changes
 * no hash.
 */
export interface AgentSpec {
  /** How it behaves. */
  behaviour?: Behaviour
  /** What it may use. */
  budget?: Budget
  /** Permissions it may use on its caller's behalf, beside those a run needs. */
  capabilities?: string[]
  /** What it is for, at most 4096 bytes. */
  description?: string
  /** Models to try, in order, when the model cannot answer. */
  fallbacks?: string[]
  /** JSON Schema of the input; text where absent. */
  inputSchema?: Json
  /** What the model is told first, at most 1 MiB. */
  instructions?: string
  /** Integrations; not built yet, refused when set. */
  integrations?: string[]
  /** Where it runs. */
  interface?: Interface
  /** Knowledge bases; not built yet, refused when set. */
  knowledge?: string[]
  /** Limits that are no budget. */
  limits?: Limits
  /** Longest answer of the model, in tokens. */
  maxTokens?: number | null
  /** The host's own labels. */
  metadata?: Record<string, string>
  /** The model. */
  model?: string
  /** Monitoring; not built yet, refused when set. */
  monitoring?: Record<string, Json>
  /** The name, unique within the tenant, at most 255 characters. */
  name: string
  /** JSON Schema of the output; text where absent. */
  outputSchema?: Json
  /** Parameters of a template; not built yet, refused when set. */
  parameters?: Record<string, Json>
  /** Policies; not built yet, refused when set. */
  policies?: string[]
  /** Machine resources; not built yet, refused when set. */
  resources?: Record<string, Json>
  /** Protection of its data; not built yet, refused when set. */
  security?: SecuritySpec
  /** Sampling temperature, 0 to 2. */
  temperature?: number | null
  /** Tools it may call, by name. */
  tools?: string[]
  /** The type: one of `KNOWN_TYPES` or the host's own. */
  type?: string
}

/**
 * What an agent is. Absent and default fields stay out of the canonical form, so that adding a field later changes
 * no hash.
 */
export interface AgentSpecInput {
  /** How it behaves. */
  behaviour?: Behaviour
  /** What it may use. */
  budget?: Budget
  /** Permissions it may use on its caller's behalf, beside those a run needs. */
  capabilities?: string[]
  /** What it is for, at most 4096 bytes. */
  description?: string
  /** Models to try, in order, when the model cannot answer. */
  fallbacks?: string[]
  /** JSON Schema of the input; text where absent. */
  inputSchema?: Json
  /** What the model is told first, at most 1 MiB. */
  instructions?: string
  /** Integrations; not built yet, refused when set. */
  integrations?: string[]
  /** Where it runs. */
  interface?: Interface
  /** Knowledge bases; not built yet, refused when set. */
  knowledge?: string[]
  /** Limits that are no budget. */
  limits?: Limits
  /** Longest answer of the model, in tokens. */
  maxTokens?: number | null
  /** The host's own labels. */
  metadata?: Record<string, string>
  /** The model. */
  model?: string
  /** Monitoring; not built yet, refused when set. */
  monitoring?: Record<string, Json>
  /** The name, unique within the tenant, at most 255 characters. */
  name?: string
  /** JSON Schema of the output; text where absent. */
  outputSchema?: Json
  /** Parameters of a template; not built yet, refused when set. */
  parameters?: Record<string, Json>
  /** Policies; not built yet, refused when set. */
  policies?: string[]
  /** Machine resources; not built yet, refused when set. */
  resources?: Record<string, Json>
  /** Protection of its data; not built yet, refused when set. */
  security?: SecuritySpec
  /** Sampling temperature, 0 to 2. */
  temperature?: number | null
  /** Tools it may call, by name. */
  tools?: string[]
  /** The type: one of `KNOWN_TYPES` or the host's own. */
  type?: string
}

/** What an agent is. */
export interface AgentSpecifiedArguments {
  /** The specification. */
  spec: AgentSpecInput
}

/** Where an agent's definition is in its life. */
export type AgentState = 'draft' | 'validated' | 'deployed' | 'running' | 'paused' | 'retired'

/** A version of an agent. */
export interface AgentVersionArguments {
  /** The agent. */
  agent: AgentId
  /** The version. */
  version: VersionHash
}

/** A hash. SHA-1 is not among them. */
export type Algorithm = 'sha256' | 'sha512'

/** A person's answer to an approval. */
export type Answer = 'approve' | 'deny'

/** An answer and what was spent on it. */
export interface AnsweredChatResponse {
  /** The answer. */
  answer: ChatResponse
  /** The requests to providers, in the order they ended; none where a stored answer was given. */
  attempts: Attempt[]
  /** What they cost together; absent when a price is unknown. */
  costUsd: NanoUsd | null
  /** Their token counts together; absent when nothing was billed. */
  usage: Usage | null
}

/** An answer and what was spent on it. */
export interface AnsweredEmbedResponse {
  /** The answer. */
  answer: EmbedResponse
  /** The requests to providers, in the order they ended; none where a stored answer was given. */
  attempts: Attempt[]
  /** What they cost together; absent when a price is unknown. */
  costUsd: NanoUsd | null
  /** Their token counts together; absent when nothing was billed. */
  usage: Usage | null
}

/** An answer and what was spent on it. */
export interface AnsweredRerankResponse {
  /** The answer. */
  answer: RerankResponse
  /** The requests to providers, in the order they ended; none where a stored answer was given. */
  attempts: Attempt[]
  /** What they cost together; absent when a price is unknown. */
  costUsd: NanoUsd | null
  /** Their token counts together; absent when nothing was billed. */
  usage: Usage | null
}

/** An API key. The secret itself is nowhere. */
export interface ApiKey {
  /** When it was made. */
  createdAt: Timestamp
  /** When it ends. */
  expiresAt: Timestamp | null
  /** The id, part of the key's text. */
  id: ApiKeyId
  /** What it is for, in the user's words. */
  name: string
  /** When it was revoked. */
  revokedAt: Timestamp | null
  /** What it is limited to, as permission names; everything the user may where absent. */
  scopes: string[] | null
  /** Whose key it is. */
  user: UserId
}

/** An id of the form `key_<uuid>`. */
export type ApiKeyId = string

/** Whether a person must agree before a tool is called. */
export type Approval = 'never' | 'always'

/** An id of the form `apv_<uuid>`. */
export type ApprovalId = string

/** A tenant to be written to a file. */
export interface ArchiveExportArguments {
  /** The path of the file, which is not there yet. */
  path: string
  /** The tenant. */
  tenant: TenantId
}

/** What an archive says about itself before its tables. */
export interface ArchiveHeader {
  /** The head of the tenant's audit log: records that had no place in it yet are not counted. */
  audit: Checkpoint
  /** When it was exported. */
  exportedAt: Timestamp
  /** The version of the schema its tables are of. */
  schema: number
  /** The state the tenant was in. */
  state: TenantState
  /** The kind of store it was exported from, such as `sqlite`. */
  store: string
  /** The tenant. */
  tenant: TenantId
}

/** An archive. */
export interface ArchivePathArguments {
  /** The path of the file. */
  path: string
}

/** An archive to be restored. */
export interface ArchiveRestoreArguments {
  /** Which tenant it becomes; default `same`. */
  into?: RestoreInto | null
  /** The path of the file. */
  path: string
}

/** An archive that was written or verified, in numbers. */
export interface ArchiveSummary {
  /** Its size in bytes. */
  bytes: number
  /** Its last 32 bytes, the SHA-256 of all before: names it among all archives. */
  digest: TreeHash
  /** What it says about itself. */
  header: ArchiveHeader
  /** The number of rows of all tables. */
  rows: number
  /** Its tables. */
  tables: ArchiveTable[]
}

/** A table of an archive in numbers. */
export interface ArchiveTable {
  /** SHA-256 over the rows. */
  digest: TreeHash
  /** The name. */
  name: string
  /** The number of rows. */
  rows: number
}

/** One request to a provider, after it ended. */
export type Attempt =
  | AnsweredAttempt
  | FailedAttempt
  | DroppedAttempt

/** It gave the whole answer. */
export interface AnsweredAttempt {
  end: 'answered'
  /** What it cost: zero when nothing was billed, absent when the price is unknown. */
  cost: NanoUsd | null
  /** Which of the provider's credentials, counted from 0. */
  credential: number
  /** How long it took, in microseconds. */
  durationUs: number
  /** Whether the counts are an estimate from above, because the provider gave none. */
  estimated: boolean
  /** How long it took to the first piece of the answer, in microseconds, where it was streamed and there was one. */
  firstContentUs: number | null
  /** Whether it ran beside a slow one. */
  hedge: boolean
  /** The model, by the provider's name for it. */
  model: string
  /** The provider. */
  provider: string
  /** When it began. */
  started: Timestamp
  /** Token counts; absent when nothing was billed. */
  usage: Usage | null
}

/** It failed. */
export interface FailedAttempt {
  /** What kind of failure it was, in the provider layer's words; the kind's name where there is no other. */
  category: string
  end: 'failed'
  /** The kind of its error. */
  kind: ErrorKind
  /** What it cost: zero when nothing was billed, absent when the price is unknown. */
  cost: NanoUsd | null
  /** Which of the provider's credentials, counted from 0. */
  credential: number
  /** How long it took, in microseconds. */
  durationUs: number
  /** Whether the counts are an estimate from above, because the provider gave none. */
  estimated: boolean
  /** How long it took to the first piece of the answer, in microseconds, where it was streamed and there was one. */
  firstContentUs: number | null
  /** Whether it ran beside a slow one. */
  hedge: boolean
  /** The model, by the provider's name for it. */
  model: string
  /** The provider. */
  provider: string
  /** When it began. */
  started: Timestamp
  /** Token counts; absent when nothing was billed. */
  usage: Usage | null
}

/** Nobody waited any more: the caller went away, or another attempt was faster. */
export interface DroppedAttempt {
  end: 'dropped'
  /** What it cost: zero when nothing was billed, absent when the price is unknown. */
  cost: NanoUsd | null
  /** Which of the provider's credentials, counted from 0. */
  credential: number
  /** How long it took, in microseconds. */
  durationUs: number
  /** Whether the counts are an estimate from above, because the provider gave none. */
  estimated: boolean
  /** How long it took to the first piece of the answer, in microseconds, where it was streamed and there was one. */
  firstContentUs: number | null
  /** Whether it ran beside a slow one. */
  hedge: boolean
  /** The model, by the provider's name for it. */
  model: string
  /** The provider. */
  provider: string
  /** When it began. */
  started: Timestamp
  /** Token counts; absent when nothing was billed. */
  usage: Usage | null
}

/** A record in its place in the audit log. */
export interface AuditEntry {
  /** The stored bytes, which are what is hashed; empty where the record was erased. */
  bytes: string
  /** The hash of the leaf (RFC 6962, section 2.1). */
  leaf: TreeHash
  /** What the stored bytes say; absent where the record was erased with its tenant. */
  record: AuditRecord | null
  /** Its place: 0 for the first record of the log, without gaps. */
  seq: number
}

/** An id of the form `aud_<uuid>`. */
export type AuditId = string

/**
 * One record of the audit log: facts, never content.
 *
 * Its canonical JSON bytes (absent fields left out) are what is stored and hashed.
 */
export interface AuditRecord {
  /** What was done: the name of the operation, such as `agents.deploy`, or of what it led to, such as `tools.call`. */
  action: string
  /** Who acted. */
  actor: Actor
  /** Further facts. */
  details?: Record<string, Json>
  /** The id of the record. */
  id: AuditId
  /** The caller's IP address, where the host gave it. */
  ipAddress?: string | null
  /** Why it was refused or failed: an error code; or the operator's reason. */
  reason?: string | null
  /** The request it belongs to. */
  requestId: RequestId
  /** The kind of resource, in the plural of the permissions. */
  resource: string
  /** The id of the resource in text form. */
  resourceId?: string | null
  /** Whether it was done. */
  result: AuditResult
  /** The tenant whose log it is in; absent in the platform log. */
  tenantId?: TenantId | null
  /** When. */
  timestamp: Timestamp
  /** The caller's user agent, where the host gave it. */
  userAgent?: string | null
  /** Version of this form, 1. */
  v: number
}

/** How an action ended. */
export type AuditResult = 'success' | 'failure'

/** A way to prove who asks. */
export interface AuthInfo {
  /** What is entered. */
  fields: FieldInfo[]
  /** Whether somebody grants access in a browser. */
  inBrowser: boolean
  /** The name. */
  name: string
  /** What it is called among people. */
  title: string
}

/** Somebody with a credential. */
export interface AuthenticateArguments {
  /** An API key in text form. */
  apiKey: string
  /** Facts about the request. */
  info?: Info | null
}

/** Where somebody is sent to grant an integration access. */
export interface Authorization {
  /** Until when it can be used. */
  expiresAt: Timestamp
  /** What the vendor gives back with the code: `<integration>.<random>`, for this one time. */
  state: string
  /** The URL at the vendor. */
  url: string
}

/** A backup of a tenant: an archive in the folder for backups. */
export interface Backup {
  /** The size of the file, of a completed one. */
  bytes: number | null
  /** The digest of the archive, of a completed one: its last 32 bytes. */
  digest: TreeHash | null
  /** Why it failed. */
  error: ErrorKind | null
  /** When it was over. */
  finishedAt: Timestamp | null
  /** The id. */
  id: BackupId
  /** Until when whoever makes it has it to itself; one that is in progress after that was given up by its process. */
  leaseUntil: Timestamp
  /** The name of its file within the folder. */
  name: string
  /** Counts the backups of the tenant that were begun, from 1: a higher one was begun later, whatever clocks said. */
  number: number
  /** The number of rows in it, of a completed one. */
  rows: number | null
  /** The time of the schedule it was made for; absent for one that somebody asked for. */
  slot: Timestamp | null
  /** When it was begun. */
  startedAt: Timestamp
  /** What became of it. */
  state: BackupState
  /** The tenant. */
  tenant: TenantId
}

/** A backup by id. */
export interface BackupByIdArguments {
  /** The backup. */
  backup: BackupId
  /** The tenant. */
  tenant: TenantId
}

/** An id of the form `bkp_<uuid>`. */
export type BackupId = string

/** What became of a backup. */
export type BackupState = 'in_progress' | 'completed' | 'failed'

/** A page of a tenant's backups. */
export interface BackupsListedArguments {
  /** Where the page begins: `next` of the one before. */
  after?: Cursor | null
  /** At most this many, 1 to 100; default 20. */
  limit?: number | null
  /** The tenant. */
  tenant: TenantId
}

/** How an agent behaves. */
export type Behaviour = 'question_answering' | 'conversational' | 'producer' | 'workflow'

/**
 * What an agent may use: per run, and over all its runs together.
 *
 * A dimension limited over all runs needs a limit per run: that much is held when a run starts and settled when it
 * ends, so concurrent runs never pass the limit together.
 */
export interface Budget {
  /** Limits of one run. */
  perRun?: BudgetLimits
  /** Limits of all runs of the agent together. */
  total?: BudgetLimits
}

/** Limits in the four dimensions; an absent one does not limit. */
export interface BudgetLimits {
  /** Cost in US dollars, as a decimal string. */
  costUsd?: NanoUsd | null
  /** Model calls and tool calls. */
  steps?: number | null
  /** Input and output tokens together. */
  tokens?: number | null
  /** Tool calls. */
  toolCalls?: number | null
}

/** Whether a stored answer may be given. */
export type CacheUse = 'default' | 'always' | 'refresh' | 'never'

/** A target that may answer. */
export interface Candidate {
  /** Why it may not be asked at the moment. */
  blocked?: string | null
  /** The expected cost: the whole prompt, and the longest answer that is expected; absent when the price is unknown. */
  cost: NanoUsd | null
  /** Whether it was made for the task and goes first. */
  custom: boolean
  /** The expected time of the answer in milliseconds, with a penalty for failures; absent while nothing is known. */
  expectedMs: number | null
  /** The share of its attempts that failed lately, 0 to 1. */
  failing: number
  /** Its group: 0 for what was asked for, then one for each fallback. Groups stay in order. */
  group: number
  /** The provider. */
  provider: string
  /** Quality by the host's own measure, 0 to 1000. */
  quality: number
  /** What the strategy gave it; higher is better, on the strategy's own scale. */
  score: number | null
  /** `provider/model`, or the name a model of the host's own is registered under. */
  target: string
  /** Whether it answered the last request with the same affinity key, so that its prompt cache is warm. */
  warm: boolean
  /** Its share, for the strategies that weigh. */
  weight: number
}

/** What a model can do beside text in, text out; an absent field is unknown, and unknown is tried. */
export interface Capabilities {
  /** Reads documents. */
  documents?: boolean | null
  /** Reads images. */
  images?: boolean | null
  /** Keeps its answer to a JSON Schema. */
  outputSchema?: boolean | null
  /** Reasons before it answers. */
  reasoning?: boolean | null
  /** Calls tools. */
  tools?: boolean | null
}

/** The execution chain of a run. */
export interface Chain {
  /** Where the run stands. */
  status: RunStatus
  /** The steps, in the order they became ready. */
  steps: ChainStep[]
  /** Sums over them. */
  summary: ChainSummary
  /** Milliseconds from when the run was accepted to its end, or to the last thing that is known. */
  totalDurationMs: number
  /** The run, which is also its trace. */
  traceId: RunId
}

/** 64 hexadecimal digits. */
export type ChainHash = string

/** A step of a chain. */
export interface ChainStep {
  /** How often it was tried. */
  attempts: number
  /** Its cost, as a decimal string; absent for a tool, and for a model without a price. */
  costUsd: NanoUsd | null
  /** Milliseconds from when it became ready to its end. */
  durationMs: number
  /** Its error, where it gave none. */
  error: StepError | null
  /** Prompt tokens of a model call. */
  inputTokens: number | null
  /** What it did. */
  kind: StepKind
  /** The model that answered, or the tool. */
  name: string
  /** Completion tokens of a model call. */
  outputTokens: number | null
  /** Its number, from 0. */
  step: number
  /** `llm_invocation` or `tool_execution`. */
  stepType: string
  /** Whether it gave a result; absent while it is under way. */
  success: boolean | null
  /** When it became ready. */
  timestamp: Timestamp
  /** Milliseconds of that before the attempt that ended it began: waiting, and attempts that failed. */
  waitedMs: number
}

/** Sums over a chain. */
export interface ChainSummary {
  /** Steps that gave a result, of those that ended, in per mille. */
  successPerMille: number
  /** Their cost; absent when any part is unknown. */
  totalCostUsd: NanoUsd | null
  /** Number of steps. */
  totalSteps: number
  /** Input and output tokens together. */
  totalTokens: number
}

/** A piece of a streamed answer. */
export type ChatEvent =
  | StartedChatEvent
  | TextChatEvent
  | ReasoningChatEvent
  | RefusalChatEvent
  | ToolCallChatEvent
  | UsageChatEvent
  | FinishedChatEvent

/** The provider's id and model of the answer. */
export interface StartedChatEvent {
  /** The id of the answer. */
  id?: string | null
  /** The model that answers. */
  model?: string | null
  type: 'started'
}

/** More text. */
export interface TextChatEvent {
  /** The text. */
  text: string
  type: 'text'
}

/** More reasoning. */
export interface ReasoningChatEvent {
  /** The text. */
  text: string
  type: 'reasoning'
}

/** More of a refusal. */
export interface RefusalChatEvent {
  /** The text. */
  text: string
  type: 'refusal'
}

/** More of a tool call: the id and name when it begins, argument text as it comes. */
export interface ToolCallChatEvent {
  /** More argument text. */
  arguments?: string
  /** The id, on its first piece. */
  id?: string | null
  /** Which call of this answer, from 0, in the order they began. */
  index: number
  /** The tool, on its first piece. */
  name?: string | null
  type: 'tool_call'
}

/** Token counts so far; the last one holds. */
export interface UsageChatEvent {
  /** Prompt tokens that are billed, where that is said apart from what the model read. */
  billedInputTokens?: number | null
  /** Completion tokens that are billed, where that is said apart from what the model wrote. */
  billedOutputTokens?: number | null
  /** Those of the prompt tokens that were read from the provider's cache. */
  cacheReadTokens?: number | null
  /** Those of the cache writes that are kept for an hour. */
  cacheWrite1hTokens?: number | null
  /** Those of the prompt tokens that were written to the provider's cache. */
  cacheWriteTokens?: number | null
  /** Prompt tokens, including cache reads and writes. */
  inputTokens?: number | null
  /** Billable completion tokens, including reasoning. */
  outputTokens?: number | null
  /** Those of the completion tokens that were reasoning. */
  reasoningTokens?: number | null
  /** Searches that are billed. */
  searchUnits?: number | null
  /** The service tier that answered. */
  serviceTier?: ServiceTier | null
  type: 'usage'
}

/** The answer is complete; only usage may follow. */
export interface FinishedChatEvent {
  /** The provider's word for it. */
  raw?: string | null
  /** Why it ended. */
  reason: FinishReason
  type: 'finished'
}

/** A request to a chat model. */
export interface ChatRequest {
  /** Fields of the provider's own wire format, passed through unchanged. */
  extra: Record<string, Json>
  /** Longest answer in tokens; the provider's default where absent. */
  maxTokens: number | null
  /** The conversation so far. */
  messages: Message[]
  /** The model's name. */
  model: string
  /** JSON Schema the answer must match. */
  outputSchema: Json
  /** What the caller says about who answers. */
  route?: RouteHints
  /** Seed for repeatable sampling, where the provider has it. */
  seed: number | null
  /** Sequences that end the answer. */
  stop: string[]
  /** Sampling temperature; the provider's default where absent. */
  temperature: number | null
  /** Which of them. */
  toolChoice: ToolChoice
  /** Tools the model may call. */
  tools: ToolDefinition[]
}

/** A whole answer of a model. */
export interface ChatResponse {
  /** What the provider wants to see again when this answer is sent back to it. */
  continuation?: Continuation | null
  /** Why it ended. */
  finish: FinishReason
  /** The provider's word for it. */
  finishRaw: string | null
  /** The provider's id of the answer. */
  id: string | null
  /** The model that answered, as the provider names it. */
  model: string | null
  /** Reasoning the provider showed. */
  reasoning?: string
  /** A refusal, in the model's words. */
  refusal?: string | null
  /** The text. */
  text: string
  /** Tool calls, in the order of the answer. */
  toolCalls?: ToolRequest[]
  /** Token counts; absent when the provider sent none. */
  usage: Usage | null
}

/** A tree head: so many records, with this root (RFC 6962, section 2.1). */
export interface Checkpoint {
  /** Root of the Merkle tree over them. */
  root: TreeHash
  /** Number of records. */
  size: number
}

/** One model of a comparison. */
export interface Compared {
  /** How many of the trials were answered. */
  answered: number
  /** The mean cost of a trial: decimal dollars in JSON, and `null` when one of them is unknown. */
  cost: NanoUsd | null
  /** The median time to the first piece of the answers, in microseconds. */
  firstContentUs: number | null
  /** The median time of the answers, in microseconds. */
  latencyUs: number | null
  /** The name it was asked by. */
  model: string
  /** The provider that serves it. */
  provider: string
  /** The mean score in thousandths, where a trial without an answer counts as 0; `None` when nothing was scored. */
  score: number | null
  /** Every request, in the order they were numbered. */
  trials: Trial[]
}

/** Models side by side. Shown as a table; as JSON by serde. */
export interface Comparison {
  /** The models, in the order they were given. */
  models: Compared[]
  /** Which to take; `None` when none answered. */
  recommendation: Recommendation | null
}

/** A way to prove who asks. */
export type ConnectorAuth =
  | BearerConnectorAuth
  | BasicConnectorAuth
  | HeaderConnectorAuth
  | QueryConnectorAuth
  | OauthConnectorAuth
  | OwnConnectorAuth

/** The credential `token`, as a bearer token. */
export interface BearerConnectorAuth {
  type: 'bearer'
}

/** The credentials `username` and `password`. */
export interface BasicConnectorAuth {
  type: 'basic'
}

/** The credential `key`, in a header. */
export interface HeaderConnectorAuth {
  /** The header. */
  header: string
  /** What stands before the key; nothing where absent. */
  prefix?: string
  type: 'header'
}

/** The credential `key`, in the query. */
export interface QueryConnectorAuth {
  /** The name in the query. */
  name: string
  type: 'query'
}

/** Tokens that somebody grants in a browser, and that are renewed; the host registers its application. */
export interface OauthConnectorAuth {
  /** Where people grant access. */
  authorizeUrl: string
  /** What is asked for. */
  scopes?: string[]
  /** Where codes and refresh tokens are exchanged. */
  tokenUrl: string
  type: 'oauth'
}

/** Credentials that the operations use in a way of their own. */
export interface OwnConnectorAuth {
  /** What whoever makes an integration is asked for. */
  fields: ConnectorField[]
  type: 'own'
}

/** A connector by its name. */
export interface ConnectorByNameArguments {
  /** The name. */
  name: string
}

/** A connector with everything that is known of its operations. */
export interface ConnectorDetails {
  /** The connector. */
  connector: ConnectorInfo
  /** Its operations, by name. */
  operations: OperationInfo[]
}

/** A credential that is asked for. */
export interface ConnectorField {
  /** What it is. */
  about?: string
  /** The name. */
  name: string
  /** Whether it can be left out; default no. */
  optional?: boolean
}

/** A connector, as whoever connects an integration sees it. */
export interface ConnectorInfo {
  /** Ways to prove who asks; the first one is the usual one. */
  auth: AuthInfo[]
  /** The name. */
  name: string
  /** The names of its operations. */
  operations: string[]
  /** JSON Schema of its settings. */
  settings: Json
  /** What it is good for. */
  summary: string
  /** How people call the service. */
  title: string
  /** The version of its description. */
  version: string
}

/** What a connector is, as the host says. */
export interface ConnectorSpec {
  /** Ways to prove who asks, the usual one first; nobody proves anything where there is none. */
  auth?: ConnectorAuth[]
  /** The URL that requests go under, with settings in braces; the setting `base_url` of an integration replaces it. */
  baseUrl?: string
  /** Headers of every request. */
  headers?: Record<string, string>
  /** The name: 1 to 32 of `a-z 0-9 -`. */
  name: string
  /** What it can do. */
  operations: OperationSpec[]
  /** Settings of an integration, each with its JSON Schema. */
  settings?: Record<string, Json>
  /** What it is good for, in a sentence. */
  summary?: string
  /** How people call the service; the name where absent. */
  title?: string | null
  /** The version of this description; default `1.0.0`. */
  version?: string | null
  /** How the account is found that an integration is connected to. */
  whoami?: ConnectorWhoAmI | null
}

/** How an account is found: by an operation without input. */
export interface ConnectorWhoAmI {
  /** Where its answer has the account's id, as a JSON pointer. */
  id: string
  /** Where it has the account's name. */
  name: string
  /** The operation. */
  operation: string
}

/** Two sizes of a log. */
export interface ConsistencyArguments {
  /** The larger size. */
  new: number
  /** The smaller size. */
  old: number
}

/** A piece of a user's message. */
export type Content =
  | TextContent
  | ImageContent
  | DocumentContent

/** Text. */
export interface TextContent {
  /** The text. */
  text: string
  type: 'text'
}

/** An image. */
export interface ImageContent {
  /** Its media type, such as `image/png`. */
  mediaType: string
  /** The bytes. */
  source: Source
  type: 'image'
}

/** A document. */
export interface DocumentContent {
  /** Its media type, such as `application/pdf`. */
  mediaType: string
  /** Its name, where it has one. */
  name?: string | null
  /** The bytes. */
  source: Source
  type: 'document'
}

/** Who acts, for which tenant, with which grants. */
export interface ContextRecord {
  /** The agent that acts on the user's behalf, in a run. */
  agent: AgentId | null
  /** The work it belongs to. */
  correlationId: string
  /** When the request must be over. */
  deadline: Timestamp | null
  /** When the credential behind it ends. */
  expires: Timestamp | null
  /** The permissions, by name. */
  grants: string[]
  /** The API key behind it, where it was one. */
  key: ApiKeyId | null
  /** The id of the request. */
  requestId: RequestId
  /** The tenant. */
  tenant: TenantId
  /** The user. */
  user: UserId
}

/**
 * What a provider wants to see again when its own answer is sent back to it: signed or encrypted reasoning, above all.
 * Another provider than the issuer would refuse it, so it is left out there.
 */
export interface Continuation {
  /** Who can read it: the name of a dialect, or of a provider where its keys are its own. */
  issuer: string
  /** Parts of the answer in the issuer's own wire format. */
  items: Json[]
}

/** A conversation; a text alone is what the user says. */
export type Conversation = string | Message[]

/** A place in a list. */
export type Cursor = string

/** A page of an endpoint's deliveries. */
export interface DeliveriesListedArguments {
  /** Where the page begins: `next` of the one before. */
  after?: Cursor | null
  /** The endpoint. */
  endpoint: EndpointId
  /** At most this many items, 1 to 100; default 20. */
  limit?: number | null
}

/** A delivery by id. */
export interface DeliveryByIdArguments {
  /** The delivery. */
  delivery: DeliveryId
}

/** An id of the form `dlv_<uuid>`. */
export type DeliveryId = string

/** What became of a delivery. */
export type DeliveryState = 'pending' | 'done' | 'failed'

/** Why a target was left out. */
export type DropReason = 'unknown' | 'not_allowed' | 'region' | {
  capability: string
} | 'context_window' | 'price' | 'selector'

/** A target that was left out. */
export interface Dropped {
  /** Why. */
  reason: DropReason
  /** Its name. */
  target: string
}

/** What calling a tool does to the world, which decides what may be repeated after a crash. */
export type Effect = 'pure' | 'idempotent' | 'transactional' | 'unsafe'

/** What vectors are for; models that were trained for it make others for a question than for what answers it. */
export type EmbedPurpose = 'query' | 'document' | 'similarity' | 'classification' | 'clustering'

/** The vectors of texts. */
export interface EmbedResponse {
  /** The model that answered, as the provider names it. */
  model: string | null
  /** Token counts; absent when the provider sent none. */
  usage: Usage | null
  /** One vector for each text, in the order of the texts, all of one length. */
  vectors: number[][]
}

/** How a signature is written. It is compared as text, so one signature has one form. */
export type Encoding = 'hex' | 'base64'

/** An endpoint by id. */
export interface EndpointByIdArguments {
  /** The endpoint. */
  endpoint: EndpointId
}

/** A change of an endpoint: what is given is replaced, the rest stays. */
export interface EndpointChangeArguments {
  /** Whether it takes deliveries. */
  enabled?: boolean | null
  /** The endpoint. */
  endpoint: EndpointId
  /** The new name. */
  name?: string | null
  /** The new triggers, instead of all the old ones. */
  triggers?: WebhookTriggerInput[] | null
}

/** An id of the form `hok_<uuid>`. */
export type EndpointId = string

/** Another secret of an endpoint. */
export interface EndpointRotationArguments {
  /** The endpoint. */
  endpoint: EndpointId
  /** Seconds for which the secret before it counts too; default a day. */
  overlapS?: number | null
  /** The new secret, where the vendor gives one out; else one is made. */
  secret?: string | null
}

/** Whether an endpoint takes deliveries. */
export type EndpointState = 'active' | 'disabled'

/** A part of a log. */
export interface EntriesArguments {
  /** The first place; default 0. */
  from?: number | null
  /** At most this many entries, 1 to 500; default 100. */
  limit?: number | null
}

export type ErrorKind = 'invalid_input' | 'unauthenticated' | 'budget_exceeded' | 'permission_denied' | 'tenant_suspended' | 'blocked' | 'foreign_context' | 'not_found' | 'conflict' | 'already_exists' | 'idempotency_mismatch' | 'fenced' | 'uncertain' | 'too_large' | 'price_unknown' | 'content_policy' | 'context_window' | 'rate_limited' | 'quota_exceeded' | 'cancelled' | 'internal' | 'corrupt' | 'unsupported' | 'provider_error' | 'incomplete' | 'unavailable' | 'read_only' | 'schema_too_new' | 'closed' | 'deadline_exceeded'

/** A place in a run's events. */
export type EventCursor = string

/** Which events somebody wants. All that is given has to match; a filter with nothing given wants everything. */
export interface EventFilter {
  /** Attributes of the event and their values, each as a whole. An event without the attribute does not match. */
  attributes?: Record<string, string>
  /** The kind, as a whole. */
  kind?: string | null
  /** What the kind begins with. */
  prefix?: string | null
  /** What the kind ends with. */
  suffix?: string | null
}

/** An id of the form `evt_<uuid>`. */
export type EventId = string

/** A part of a tenant's events. */
export interface EventReadArguments {
  /** The number to begin after; default 0. */
  after?: number | null
  /** At most this many events, 1 to 500; default 100. */
  limit?: number | null
}

/** Why there is no answer, or no score of it. */
export interface Failure {
  /** The kind of the error. */
  kind: ErrorKind
  /** Its message. */
  message: string
}

/** Something that is entered. */
export interface FieldInfo {
  /** What it is. */
  about: string
  /** The name. */
  name: string
  /** Whether it can be left out. */
  optional: boolean
}

/** Why an answer ended. */
export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter' | 'other'

/** Where to begin in a tenant's events. */
export interface FollowArguments {
  /** The number to begin after; default 0, for all that are kept. */
  after?: number | null
}

/** What the last look at an integration found. */
export interface Health {
  /** When it was looked at. */
  checkedAt: Timestamp
  /** Why not. */
  error: ErrorKind | null
  /** Whether it could be used. */
  healthy: boolean
  /** In words, for people. */
  message: string | null
}

/** A proof that a record is in a log. */
export interface InclusionProof {
  /** The tree head the proof leads to. */
  checkpoint: Checkpoint
  /** The audit path (RFC 6962, section 2.1.1), from the leaf's sibling up. */
  path: TreeHash[]
  /** Place of the record. */
  seq: number
}

/** Facts about a request; none of them is authority. */
export interface Info {
  /** The correlation id of the work this belongs to; the request id where absent. */
  correlationId?: string | null
  /** When the request must be over. */
  deadline?: Timestamp | null
  /** The caller's IP address, for the audit log. */
  ipAddress?: string | null
  /** The W3C `traceparent` of the caller. */
  traceparent?: string | null
  /** The caller's user agent, for the audit log. */
  userAgent?: string | null
}

/** An integration. */
export interface Integration {
  /** The account it is connected to: what was found first, and is held to since. */
  account: Account | null
  /** Which of the connector's ways to prove who asks is used. */
  auth: string
  /** The connector in the catalogue. */
  connector: string
  /** When it was made. */
  createdAt: Timestamp
  /** Who made it. */
  createdBy: UserId
  /** What the last test found. */
  health: Health | null
  /** The id. */
  id: IntegrationId
  /** The name, unique within the tenant. */
  name: string
  /** Counts the changes. */
  revision: number
  /** The connector's settings; none of them is a secret. */
  settings: Record<string, Json>
  /** Whether it can be used. */
  state: IntegrationState
  /** When it was last changed. */
  updatedAt: Timestamp
}

/** The beginning of connecting an integration in a browser. */
export interface IntegrationAuthorizeArguments {
  /** The integration. */
  integration: IntegrationId
  /** Where the vendor sends whoever has granted access, as it is registered there. */
  redirectUri: string
  /** What is asked for, in the vendor's words; the connector's usual scopes where absent. */
  scopes?: string[] | null
}

/** An integration by id. */
export interface IntegrationByIdArguments {
  /** The integration. */
  integration: IntegrationId
}

/** A change of an integration: what is given is replaced, the rest stays. */
export interface IntegrationChangeArguments {
  /** New credentials, instead of all the old ones. */
  credentials?: Record<string, Json> | null
  /** Whether it is switched on. */
  enabled?: boolean | null
  /** The integration. */
  integration: IntegrationId
  /** The new name. */
  name?: string | null
  /** The new settings, instead of all the old ones. */
  settings?: Record<string, Json> | null
}

/** The end of connecting an integration in a browser. */
export interface IntegrationConnectArguments {
  /** The code it gave. */
  code: string
  /** The integration. */
  integration: IntegrationId
  /** The state that the vendor gave back. */
  state: string
}

/** An id of the form `int_<uuid>`. */
export type IntegrationId = string

/** A call of an operation. */
export interface IntegrationInvokeArguments {
  /** The caller's key: a call that was made with it before is answered as then. 1 to 255 bytes. */
  idempotencyKey?: string | null
  /** Its input. */
  input?: Record<string, Json> | null
  /** The integration. */
  integration: IntegrationId
  /** The operation, as `issues.create`. */
  operation: string
  /** Milliseconds it may take; the operation's own limit where absent or shorter. */
  timeoutMs?: number | null
}

/** Whether an integration can be used. */
export type IntegrationState = 'active' | 'needs_reconnect' | 'disabled'

/** A page of integrations. */
export interface IntegrationsListedArguments {
  /** Where the page begins: `next` of the one before. */
  after?: Cursor | null
  /** Only those of this connector. */
  connector?: string | null
  /** At most this many items, 1 to 100; default 20. */
  limit?: number | null
  /** Only those in this state. */
  state?: IntegrationState | null
}

/** Where an agent runs. */
export type Interface = 'built_in' | 'external_api' | 'hybrid' | 'legacy'

/** The verified journal of a run. */
export interface Journal {
  /** The run. */
  record: RunRecord
  /** Its rows, in order. */
  rows: JournalRow[]
}

/** A row of a run's journal. */
export interface JournalRow {
  /** What happened: an object with its name in `entry`. */
  entry: Record<string, Json>
  /** The hash of the chain up to this row. */
  hash: ChainHash
  /** Its number, from 1. */
  seq: number
}

/** An API key by id. */
export interface KeyByIdArguments {
  /** The key. */
  key: ApiKeyId
}

/** An API key to be made. */
export interface KeyCreateArguments {
  /** When the key ends; never where absent. */
  expiresAt?: Timestamp | null
  /** What the key is for, 1 to 255 characters. */
  name: string
  /** Permissions the key is limited to. */
  scopes?: string[] | null
  /** Whose key it is; the caller's where absent. */
  user?: UserId | null
}

/** How a secret is written. */
export type KeyForm = 'text' | 'base64'

/** Limits that are no budget. */
export interface Limits {
  /** Tool calls of one answer that run at the same time; default 8. */
  maxParallelTools?: number
  /** How often the same call with the same result may repeat before the run fails; default 3. */
  maxRepeats?: number
  /** The longest a run may take from its start, in milliseconds, waiting for people not counted out; default 1 hour. */
  timeoutMs?: number
}

/** A page of a list. */
export interface ListedArguments {
  /** Where the page begins: `next` of the one before. */
  after?: Cursor | null
  /** At most this many items, 1 to 100; default 20. */
  limit?: number | null
}

/** An endpoint that was made, or whose secret was changed. The secret is shown this once. */
export interface MadeWebhookEndpoint {
  /** The endpoint. */
  endpoint: WebhookEndpoint
  /** The secret, to be entered at the vendor. */
  secret: string
}

/** A user whom the host has authenticated itself. */
export interface MemberContextArguments {
  /** Facts about the request. */
  info?: Info | null
  /** The tenant. */
  tenant: TenantId
  /** The user. */
  user: UserId
}

/** One message of a conversation. */
export type Message =
  | SystemMessage
  | UserMessage
  | AssistantMessage
  | ToolMessage

/** Instructions. */
export interface SystemMessage {
  role: 'system'
  /** The text. */
  text: string
}

/** What the user said. */
export interface UserMessage {
  /** The pieces, in order. */
  content: Content[]
  role: 'user'
}

/** What the model answered. */
export interface AssistantMessage {
  /** What the provider that answered wants to see again. */
  continuation?: Continuation | null
  role: 'assistant'
  /** The text; may be empty. */
  text: string
  /** The tool calls it asked for. */
  toolCalls?: ToolRequest[]
}

/** The result of a tool call. */
export interface ToolMessage {
  /** The id of the call. */
  callId: string
  /** The result as text: JSON, or the message of an error. */
  content: string
  /** Whether the tool failed. */
  isError?: boolean
  /** The tool. */
  name: string
  role: 'tool'
}

export type Meter = 'llm.tokens.input' | 'llm.tokens.output' | 'llm.requests' | 'compute.ms' | 'memory.byte_seconds' | 'storage.byte_seconds' | 'integration.calls' | 'egress.bytes' | 'vector.ops'

/** A whole answer of a model. */
export interface ModelAnswer {
  /** What the model wants to see again when this answer is sent back to it. */
  continuation?: Continuation | null
  /** Why it ended; where absent, `tool_calls` with any of them and otherwise `stop`. */
  finish?: FinishReason | null
  /** The provider's id of the answer. */
  id?: string | null
  /** The model that answered, as the provider names it. */
  model?: string | null
  /** Reasoning the provider showed. */
  reasoning?: string
  /** A refusal, in the model's words. */
  refusal?: string | null
  /** The text. */
  text?: string
  /** Tool calls, in the order of the answer. */
  toolCalls?: ModelToolCall[]
  /** Token counts; absent when the provider sent none. */
  usage?: UsageInput | null
}

/** What a chat model or a route is asked. */
export interface ModelAskArguments {
  /** Fields of the provider's own wire format, passed through unchanged. */
  extra?: Record<string, Json> | null
  /** Longest answer in tokens; the provider's default where absent. */
  maxTokens?: number | null
  /** The conversation so far; a text alone is what the user says. */
  messages: Conversation
  /** The name of the model or the route. */
  model: string
  /** JSON Schema the answer must match. */
  outputSchema?: Record<string, Json> | null
  /** What the caller says about who answers. */
  route?: RouteHints | null
  /** Seed for repeatable sampling, where the provider has it. */
  seed?: number | null
  /** Sequences that end the answer. */
  stop?: string[] | null
  /** Sampling temperature; the provider's default where absent. */
  temperature?: number | null
  /** Which of them; default `auto`. */
  toolChoice?: ToolChoice | null
  /** Tools the model may call. */
  tools?: ToolDefinition[] | null
}

/** What several models are asked side by side. */
export interface ModelCompareArguments {
  /** How many requests run at one time; default 16. */
  concurrency?: number | null
  /** Longest answer in tokens; the provider's default where absent. */
  maxTokens?: number | null
  /** The conversation so far; a text alone is what the user says. */
  messages: Conversation
  /** The names of the models or routes, at most 64. */
  models: string[]
  /** JSON Schema the answers must match. */
  outputSchema?: Record<string, Json> | null
  /** How often each model is asked, at most 100; default 1. */
  repetitions?: number | null
  /** How answers are scored; not at all where absent. */
  score?: ScoreBy | null
  /** Sampling temperature; the provider's default where absent. */
  temperature?: number | null
  /** When everything is over, in milliseconds; what has no answer by then has failed. Default 120000. */
  timeoutMs?: number | null
}

/** Texts for an embedding model. */
export interface ModelEmbedArguments {
  /** Length of the vectors; the model's default where absent. */
  dimensions?: number | null
  /** Fields of the provider's own wire format, passed through unchanged. */
  extra?: Record<string, Json> | null
  /** The texts, none of them empty. */
  inputs: string[]
  /** The name of the model or the route. */
  model: string
  /** What the vectors are for; models that know no difference ignore it. */
  purpose?: EmbedPurpose | null
  /** What the caller says about who answers. */
  route?: RouteHints | null
}

/** A name that can be asked for. */
export interface ModelEntry {
  /** What is known of it; of a route, of the first model the tenant may use. */
  info: ModelInfo
  /** What it stands for. */
  kind: ModelKind
  /** The name. */
  name: string
  /** How it is; absent for a route, and for a model that was not asked since the platform started. */
  status: ModelStatus | null
  /** The names a route stands for, as far as the tenant may use them; empty for a model. */
  targets?: string[]
}

/** A piece of an answer of a model, and at its end what was spent on it. */
export type ModelEvent =
  | StartedModelEvent
  | TextModelEvent
  | ReasoningModelEvent
  | RefusalModelEvent
  | ToolCallModelEvent
  | ContinuationModelEvent
  | UsageModelEvent
  | FinishedModelEvent
  | SpentModelEvent

/** The provider's id and model of the answer; may come more than once. */
export interface StartedModelEvent {
  /** The id of the answer. */
  id: string | null
  /** The model that answers, as the provider names it. */
  model: string | null
  type: 'started'
}

/** More text. */
export interface TextModelEvent {
  /** The text. */
  text: string
  type: 'text'
}

/** More reasoning. */
export interface ReasoningModelEvent {
  /** The text. */
  text: string
  type: 'reasoning'
}

/** More of a refusal. */
export interface RefusalModelEvent {
  /** The text. */
  text: string
  type: 'refusal'
}

/** More of a tool call: the id and name when it begins, argument text as it comes. */
export interface ToolCallModelEvent {
  /** More argument text. */
  arguments: string
  /** The id, on its first piece. */
  id: string | null
  /** Which call of this answer, from 0, in the order they began. */
  index: number
  /** The tool, on its first piece. */
  name: string | null
  type: 'tool_call'
}

/** What the provider wants to see again when its answer is sent back; the last one holds. */
export interface ContinuationModelEvent {
  /** It, for the `continuation` of an assistant's message. */
  continuation: Continuation
  type: 'continuation'
}

/** Token counts so far; the last one holds. */
export interface UsageModelEvent {
  type: 'usage'
  /** The counts. */
  usage: Usage
}

/** The answer is complete; only usage and what was spent may follow. */
export interface FinishedModelEvent {
  /** The provider's word for it. */
  raw: string | null
  /** Why it ended. */
  reason: FinishReason
  type: 'finished'
}

/** The end: what was spent. */
export interface SpentModelEvent {
  /** The requests to providers, in the order they ended; none where a stored answer was given. */
  attempts: Attempt[]
  /** What they cost together; absent when a price is unknown. */
  costUsd: NanoUsd | null
  type: 'spent'
  /** Their token counts together; absent when nothing was billed. */
  usage: Usage | null
}

/** What a model is and can do. */
export interface ModelInfo {
  /** What it can do beside text. */
  capabilities: Capabilities
  /** Longest input and output together, in tokens; absent when unknown. */
  contextWindow: number | null
  /** Longest output in tokens; absent when unknown. */
  maxOutputTokens: number | null
  /** The name agents use. */
  name: string
  /** What it costs; absent when unknown, and unknown is never zero. */
  price: PriceSheet | null
  /** The provider that serves it. */
  provider: string
}

/** What a model is, as the host says. */
export interface ModelInfoInput {
  /** Longest input and output together, in tokens. */
  contextWindow?: number | null
  /** Longest output in tokens. */
  maxOutputTokens?: number | null
  /** The name agents use. */
  name: string
  /** The price; without one its cost is unknown, and unknown is never zero. */
  price?: ModelPrice | null
  /** The provider that serves it; default `host`. */
  provider?: string | null
}

/** What a name stands for. */
export type ModelKind = 'route' | 'chat' | 'embedding' | 'rerank'

/** Prices of a model, in US dollars per million tokens. */
export interface ModelPrice {
  /** Prompt tokens read from a cache; the input price where absent. */
  cacheRead?: NanoUsd | null
  /** Prompt tokens written to a cache; the input price where absent. */
  cacheWrite?: NanoUsd | null
  /** Prompt tokens written to a cache for an hour; the price of other writes where absent. */
  cacheWrite1h?: NanoUsd | null
  /** Prompt tokens that come from no cache. */
  input: NanoUsd
  /** Completion tokens. */
  output: NanoUsd
  /** Those of the completion tokens that were reasoning; the output price where absent. */
  reasoning?: NanoUsd | null
}

/** Documents for a rerank model. */
export interface ModelRerankArguments {
  /** The documents to sort. */
  documents: string[]
  /** Fields of the provider's own wire format, passed through unchanged. */
  extra?: Record<string, Json> | null
  /** The name of the model or the route. */
  model: string
  /** What is searched for. */
  query: string
  /** What the caller says about who answers. */
  route?: RouteHints | null
  /** How many of the best to name; all where absent. */
  topN?: number | null
}

/** How a model is at the moment. */
export interface ModelStatus {
  /** How many of them may not be asked at the moment. */
  blocked: number
  /** How many credentials it has. */
  credentials: number
  /** The share of its attempts that failed lately, 0 to 1. */
  failing: number
  /** The expected time to the first piece of an answer in milliseconds; absent while nothing is known. */
  firstMs: number | null
}

/** A tool call a model asks for. */
export interface ModelToolCall {
  /** The arguments: a JSON object, or its text. */
  arguments?: Json
  /** The id, which the result names; made up where absent. */
  id?: string | null
  /** The tool. */
  name: string
}

/** US dollars as decimal text, at most nine decimals. */
export type NanoUsd = string

/** A new API key, with the text that is shown this once. */
export interface NewApiKey {
  /** The key as it is stored. */
  record: ApiKey
  /** The text to give to the client, `apk_<tenant>_<key>_<secret>`. */
  secret: string
}

/** An integration to be made. */
export interface NewIntegrationArguments {
  /** Which of its ways to prove who asks; the usual one where absent. */
  auth?: string | null
  /** The connector. */
  connector: string
  /** What is entered to prove who asks; it is kept sealed and never shown. */
  credentials?: Record<string, Json>
  /** The name, 1 to 255 characters, unique within the tenant. */
  name: string
  /** Its settings. */
  settings?: Record<string, Json>
}

/** An endpoint to be made. */
export interface NewWebhookEndpointArguments {
  /** The integration it belongs to. */
  integration?: IntegrationId | null
  /** The name, 1 to 255 characters, unique within the tenant. */
  name: string
  /** How deliveries prove whose they are; the vendor's usual way where absent. */
  scheme?: WebhookSchemeInput | null
  /** The secret, where the vendor gives one out; else one is made. */
  secret?: string | null
  /** How a generic sender's deliveries are read. */
  source?: WebhookSourceInput | null
  /** What comes of deliveries. */
  triggers?: WebhookTriggerInput[]
  /** Who sends. */
  vendor: WebhookVendor
}

/** An event with its number within its tenant. */
export interface NumberedEvent {
  /** The event. */
  event: PlatformEvent
  /** The number: 1 for the first, without gaps. */
  seq: number
}

/** What becomes of a run that nobody watches any more. */
export type OnDisconnect = 'continue' | 'cancel'

/** What an operation does to what the vendor keeps. */
export type OperationEffect = 'read' | 'write' | 'destroy'

/** Whether an operation can be repeated. */
export type OperationIdempotency = 'natural' | 'none'

/** An operation. */
export interface OperationInfo {
  /** What it does to what the vendor keeps. */
  effect: OperationEffect
  /** JSON Schema of its input. */
  input: Json
  /** The name within its connector. */
  name: string
  /** JSON Schema of its output. */
  output: Json
  /** Whether its answer is a page of a list. */
  paged: boolean
  /** Whether it can be repeated when its end is not known. */
  repeatable: boolean
  /** What the vendor's credential has to be granted. */
  scopes: string[]
  /** What it does. */
  summary: string
  /** The name of its tool. */
  tool: string
}

/** An operation. */
export interface OperationSpec {
  /** What it does to what the service keeps; default `write`. */
  effect?: OperationEffect | null
  /** Whether it can be repeated when its end is not known; default `none`, unless its effect is `read`. */
  idempotency?: OperationIdempotency | null
  /** JSON Schema of its input; an object. */
  inputSchema: Json
  /** The name within the connector: 1 to 64 of `a-z 0-9 _ .`. */
  name: string
  /** JSON Schema of its answer; anything where absent. */
  outputSchema?: Json
  /** What the credential has to be granted, in the service's words. */
  scopes?: string[]
  /** What it does, for people and models. */
  summary?: string
  /** The longest a call may take, in milliseconds; default 30 000. */
  timeoutMs?: number | null
  /** What a call counts as on the meter `integration.calls`; default 1. */
  units?: number | null
}

/** An operator, as the host says. */
export interface OperatorContextArguments {
  /** Who acts. */
  actor: string
  /** Why; recorded in both logs. */
  reason: string
}

/** How a run ended. */
export interface OutcomeRecord {
  /** The answer of a completed run. */
  answer: string | null
  /** Every step: what, how long, tokens, cost. */
  chain: Chain
  /** The record of the run. */
  record: RunRecord
}

/** 64 hexadecimal digits. */
export type PayloadHash = string

/** A price in pico-USD (10⁻¹² USD) per token: `2_500_000` is 2.50 USD per million tokens. */
export type PicoUsd = number

/** Where a tenant is kept: a row of the directory. */
export interface Placement {
  /** When the tenant was made. */
  createdAt: Timestamp
  /** Counts the changes of its place. */
  epoch: number
  /** The shard it is moving to, or leaving. */
  other: string | null
  /** The shard an operator has said it belongs in, whatever the hash says. */
  pin: string | null
  /** The region it is kept in. */
  region: string | null
  /** The shard it is at home in. */
  shard: string
  /** Where the moving of it stands. */
  state: PlacementState
  /** The tenant. */
  tenantId: TenantId
}

/** A tenant to be moved. */
export interface PlacementMoveArguments {
  /** The tenant. */
  tenant: TenantId
  /** The name of the shard it is moved to. */
  to: string
}

/** A tenant to be pinned. */
export interface PlacementPinArguments {
  /** The name of the shard it belongs in; without one the hash says it again. */
  shard?: string | null
  /** The tenant. */
  tenant: TenantId
}

/** Where the moving of a tenant stands. */
export type PlacementState = 'creating' | 'settled' | 'moving' | 'leaving'

/**
 * An event: CloudEvents 1.0 attributes with the extensions `tenantid`, `correlationid`, `causationid`, `userid`,
 * `traceparent` and `dataversion`.
 */
export interface PlatformEvent {
  /** The event or request that caused it. */
  causationid?: string | null
  /** The work it belongs to. */
  correlationid: string
  /** Facts; an object. */
  data: Json
  /** Always `application/json`. */
  datacontenttype: string
  /** Version of the form of `data`. */
  dataversion: string
  /** Unique; a consumer drops an id it has seen. */
  id: EventId
  /** Where it comes from, as a URI reference such as `/agents`. */
  source: string
  /** Always `1.0`. */
  specversion: string
  /** What it is about: the id of the resource. */
  subject?: string | null
  /** The tenant. */
  tenantid: TenantId
  /** When it happened. */
  time: Timestamp
  /** The W3C trace context. */
  traceparent?: string | null
  /** What happened, as `agentprovision.noun.verb`. */
  type: string
  /** The user on whose behalf it happened. */
  userid?: string | null
}

/**
 * What a model costs: a column of prices, and those that replace it for long requests, for other service tiers and at
 * certain times. Of the variants that apply to a request one holds: one with windows before one without, then the one
 * with the highest `above`, then one of the answer's own tier, then the first in the list. It replaces the whole
 * column, so a combination of conditions has a variant of its own.
 */
export interface PriceSheet {
  /** Prompt tokens read from the provider's cache; the input price where absent. */
  cacheRead: PicoUsd | null
  /** Prompt tokens written to the provider's cache; the input price where absent. */
  cacheWrite: PicoUsd | null
  /** Prompt tokens written to the provider's cache for an hour; the price of other writes where absent. */
  cacheWrite1h?: PicoUsd | null
  /** Prompt tokens that come from no cache. */
  input: PicoUsd
  /** Completion tokens. */
  output: PicoUsd
  /** What every request costs beside its tokens, in pico-USD; nothing where absent. */
  perRequest?: PicoUsd | null
  /** What every billed search costs, in pico-USD; nothing where absent. */
  perSearch?: PicoUsd | null
  /** Those of the completion tokens that were reasoning; the output price where absent. */
  reasoning?: PicoUsd | null
  /** The prices under conditions. */
  variants?: PriceVariant[]
}

/** Prices that replace the others where all of its conditions hold. */
export interface PriceVariant {
  /**
   * For requests of more prompt tokens than this, cached ones included; of any length where absent. The whole request
   * is paid at these prices, not only what is above.
   */
  above?: number | null
  /** Prompt tokens read from the provider's cache; the input price where absent. */
  cacheRead: PicoUsd | null
  /** Prompt tokens written to the provider's cache; the input price where absent. */
  cacheWrite: PicoUsd | null
  /** Prompt tokens written to the provider's cache for an hour; the price of other writes where absent. */
  cacheWrite1h?: PicoUsd | null
  /** Prompt tokens that come from no cache. */
  input: PicoUsd
  /** Completion tokens. */
  output: PicoUsd
  /** Those of the completion tokens that were reasoning; the output price where absent. */
  reasoning?: PicoUsd | null
  /** For answers of this service tier; of any where absent. */
  serviceTier?: ServiceTier | null
  /** For requests that begin in one of these windows; at any time where there are none. */
  windows?: PriceWindow[]
}

/** Times of day in UTC, on some days of the week or all. */
export interface PriceWindow {
  /** The days on which the window begins; every day where there are none. */
  days?: Weekday[]
  /** The first minute. */
  from: TimeOfDay
  /** The minute after the last. One that is not later than `from` is on the next day, so the same time is a whole day. */
  until: TimeOfDay
}

/** Something that is wrong, or not as it probably should be, with a specification. */
export interface Problem {
  /** The field, as a path such as `budget.per_run.cost_usd`. */
  field: string
  /** The kind of error it would be alone. */
  kind: ErrorKind
  /** What is wrong. */
  message: string
  /** Whether it stops a deployment. */
  severity: Severity
}

/** An id of the form `prj_<uuid>`. */
export type ProjectId = string

/** A record to be proved. */
export interface ProveArguments {
  /** Its place. */
  seq: number
  /** The size of the log the proof leads to. */
  size: number
}

/** How well one document answers the query. */
export interface Ranked {
  /** Its place among the documents of the request, from 0. */
  index: number
  /** Higher is better; the scale is the model's own. */
  score: number
}

/** A tenant that would be elsewhere. */
export interface Rebalance {
  /** Where it is. */
  from: string
  /** The tenant. */
  tenantId: TenantId
  /** Where it would be. */
  to: string
}

/** How to answer a delivery. */
export interface ReceivedAnswer {
  /** The status of HTTP: 200 for what is kept. */
  status: number
  /** The body, as `text/plain`. */
  text: string
}

/** A delivery as an HTTP server got it. */
export interface ReceivedArguments {
  /** The last part of the path, `hok_<tenant>_<endpoint>`. */
  address: string
  /** Its body as it came, byte by byte. */
  body: string
  /** Its headers, name and value; one name may come more than once. */
  headers: Json[][]
}

/**
 * Which model to take, and why.
 *
 * Where answers were scored, the models within the tolerance of the best mean score count as good, and the cheapest of
 * those is taken, where the cost is alike the faster one. A cost that is unknown is never the lowest: such a model is
 * taken only when no good one has a known cost, and then the one with the best score is. Where nothing was scored,
 * those that answered most often count as good. Of models alike in everything the first is taken.
 */
export interface Recommendation {
  /** Why, in one sentence without a final period. */
  ground: string
  /** The name of the model. */
  model: string
}

/** An id of the form `req_<uuid>`. */
export type RequestId = string

/** The documents of a request, the best first. */
export interface RerankResponse {
  /** The model that answered, as the provider names it. */
  model: string | null
  /** The documents, the best first, each at most once. */
  results: Ranked[]
  /** Token counts or searches, whichever the provider bills by; absent when it sent none. */
  usage: Usage | null
}

/** Which tenant an archive becomes. */
export type RestoreInto = 'same' | 'new'

/** A tenant that came from an archive. */
export interface Restored {
  /** The archive. */
  archive: ArchiveSummary
  /** The tenant: suspended. */
  tenant: Tenant
}

/** A role by name. The built-in ones are constants; an unknown name is refused when it is assigned. */
export type Role = string

/** How a request is routed: who is asked, in which order, and who is not. */
export interface RouteDecision {
  /** Who is asked, in this order. */
  candidates: Candidate[]
  /** Who is not, in the order they were looked at. */
  dropped: Dropped[]
  /** The estimated length of the prompt, in tokens, from above. */
  inputTokens: number
  /** The longest answer that is expected, in tokens. */
  outputTokens: number
  /** The name that was asked for. */
  requested: string
  /** The strategy or selector that put the first group in order. */
  strategy: string
}

/**
 * What a caller says about who answers and how hard it is tried. None of it is part of what the provider is told, and
 * a model that is no router ignores all of it.
 */
export interface RouteHints {
  /**
   * Requests with one key go to one target while it is well, so that its prompt cache is used; the session's id in a
   * run. It is also the unit of experiments.
   */
  affinity?: string | null
  /** Whether a stored answer may be given. */
  cache?: CacheUse
  /** When the whole answer must be there; also the context's deadline counts. */
  deadline?: Timestamp | null
  /** Models to try, in order, when the one that is named cannot answer. */
  fallbacks?: string[]
  /**
   * The most requests to providers, retries, fallbacks and hedges together; the configured number where absent, which
   * it can only lower.
   */
  maxAttempts?: number | null
  /** Ends after the first attempt that a provider may bill, whatever became of it. */
  payOnce?: boolean
  /** The project whose budget pays. */
  project?: string | null
  /** The strategy that puts the candidates in order, by name; the configured one where absent. */
  strategy?: string | null
  /** The caller's own labels, for selectors and telemetry. */
  tags?: Record<string, string>
}

/** An answer to an approval. */
export interface RunApproveArguments {
  /** The answer. */
  answer: Answer
  /** The approval, as the request named it. */
  approval: ApprovalId
  /** The hash of the arguments, as the request named it. */
  argsHash: PayloadHash
  /** The run. */
  run: RunId
}

/** A run by id. */
export interface RunByIdArguments {
  /** The run. */
  run: RunId
}

/** An event with its place. */
export type RunEvent =
  | StartedEvent
  | StepStartedEvent
  | TextEvent
  | RestartedEvent
  | StepFinishedEvent
  | ApprovalRequestedEvent
  | ApprovalAnsweredEvent
  | CancelRequestedEvent
  | FinishedEvent

/** The run was accepted. */
export interface StartedEvent {
  event: 'started'
  /** The place: resume after it. */
  cursor: EventCursor
  /** The run. */
  run: RunId
}

/** A step begins. */
export interface StepStartedEvent {
  event: 'step_started'
  /** What it does. */
  kind: StepKind
  /** The model or the tool. */
  name: string
  /** Its number. */
  step: number
  /** The place: resume after it. */
  cursor: EventCursor
  /** The run. */
  run: RunId
}

/** More of the model's text. */
export interface TextEvent {
  event: 'text'
  /** The step. */
  step: number
  /** The text. */
  text: string
  /** The place: resume after it. */
  cursor: EventCursor
  /** The run. */
  run: RunId
}

/** A model call begins again: what was delivered of its text counts no more. */
export interface RestartedEvent {
  event: 'restarted'
  /** The step. */
  step: number
  /** The place: resume after it. */
  cursor: EventCursor
  /** The run. */
  run: RunId
}

/** A step ended. */
export interface StepFinishedEvent {
  /** Its cost, where known. */
  costUsd: NanoUsd | null
  /** Its error, where it gave none. */
  error: StepError | null
  event: 'step_finished'
  /** Whether it gave a result. */
  ok: boolean
  /** Its number. */
  step: number
  /** Token counts of a model call. */
  usage: Usage | null
  /** The place: resume after it. */
  cursor: EventCursor
  /** The run. */
  run: RunId
}

/** A tool call waits for a person. */
export interface ApprovalRequestedEvent {
  /** The approval, for the answer. */
  approval: ApprovalId
  /** Hash of the exact arguments, for the answer. */
  argsHash: PayloadHash
  event: 'approval_requested'
  /** The tool. */
  tool: string
  /** The place: resume after it. */
  cursor: EventCursor
  /** The run. */
  run: RunId
}

/** A person answered. */
export interface ApprovalAnsweredEvent {
  /** The approval. */
  approval: ApprovalId
  /** Whether the call goes ahead. */
  approved: boolean
  event: 'approval_answered'
  /** The place: resume after it. */
  cursor: EventCursor
  /** The run. */
  run: RunId
}

/** Somebody asked for the run to end. */
export interface CancelRequestedEvent {
  event: 'cancel_requested'
  /** The place: resume after it. */
  cursor: EventCursor
  /** The run. */
  run: RunId
}

/** The run is over. Always the last event, and only that. */
export interface FinishedEvent {
  /** Its error, unless it is completed. */
  error: StepError | null
  event: 'finished'
  /** How. */
  status: RunStatus
  /** What it used. */
  totals: RunTotals
  /** The place: resume after it. */
  cursor: EventCursor
  /** The run. */
  run: RunId
}

/** The events of a run. */
export interface RunEventsArguments {
  /** The place to resume after; from the beginning where absent. */
  after?: EventCursor | null
  /** The run. */
  run: RunId
}

/** An id of the form `run_<uuid>`. */
export type RunId = string

/** Text, or JSON that matches the agent's input schema. */
export type RunInput = string | {
  text: string
} | {
  json: Json
}

/** Which runs to list. */
export interface RunListArguments {
  /** Where the page begins: `next` of the one before. */
  after?: Cursor | null
  /** Only those of this agent. */
  agent?: AgentId | null
  /** Only those that were started with this idempotency key. */
  idempotencyKey?: string | null
  /** At most this many items, 1 to 100; default 20. */
  limit?: number | null
  /** Only the turns of this session. */
  session?: SessionId | null
  /** Only those that stand here. */
  status?: RunStatus | null
}

/** A run, without its journal. */
export interface RunRecord {
  /** The agent. */
  agent: AgentId
  /** What that cost; absent when any part of it is unknown. */
  costUsd: NanoUsd | null
  /** When it was accepted. */
  createdAt: Timestamp
  /** When it must be over. */
  deadline: Timestamp
  /** Its error. */
  error: StepError | null
  /** When it was over. */
  finishedAt: Timestamp | null
  /** Link of the last journal row. */
  head: ChainHash
  /** The id. */
  id: RunId
  /** The caller's idempotency key, unique per agent. */
  idempotencyKey: string | null
  /** Another user the caller acts for, as the host says. */
  onBehalfOf: string | null
  /** The run that started it. */
  parentRun: RunId | null
  /** The project it belongs to. */
  projectId: ProjectId | null
  /** Number of journal rows. */
  seq: number
  /** The session it is a turn of. */
  sessionId: SessionId | null
  /** Where it stands. */
  status: RunStatus
  /** The tenant. */
  tenant: TenantId
  /** What it used, as of its last commit. */
  totals: RunTotals
  /** When it last changed. */
  updatedAt: Timestamp
  /** On whose behalf it runs. */
  user: UserId
  /** The version it is pinned to. */
  version: VersionHash
}

/** A run to be started. */
export interface RunStartArguments {
  /** The agent. */
  agent: AgentId
  /** When it must be over, if before what the agent allows. */
  deadline?: Timestamp | null
  /** A second start of the same agent with the same key and input gives the same run. */
  idempotencyKey?: string | null
  /** Text, or JSON that matches the agent's input schema: `{"text": "…"}` or `{"json": …}`. */
  input: RunInput
  /** Another user the caller acts for, as the host says; recorded with the run. */
  onBehalfOf?: string | null
  /** What becomes of it when nobody watches it any more; default `continue`. */
  onDisconnect?: OnDisconnect | null
  /** The session the run is a turn of. */
  session?: SessionId | null
}

/** Where a run stands. */
export type RunStatus = 'running' | 'waiting' | 'parked' | 'completed' | 'failed' | 'cancelled'

/** What a run used. */
export interface RunTotals {
  /** Cost of the model calls whose price is known. */
  cost: NanoUsd
  /** Prompt tokens. */
  inputTokens: number
  /** Completion tokens. */
  outputTokens: number
  /** Model calls and tool calls. */
  steps: number
  /** Tool calls. */
  toolCalls: number
  /** Model calls whose price is unknown; with any, the run's cost is unknown. */
  unpriced: number
}

/** How answers are scored. */
export type ScoreBy = {
  exact: string
} | {
  contains: string[]
} | {
  pattern: string
}

/** How an agent's data is protected; not enforced yet, so refused when set. */
export interface SecuritySpec {
  /** Who may use the agent. */
  accessLevel?: string | null
  /** How much of its work is recorded. */
  auditLevel?: string | null
  /** How sensitive its data is. */
  dataClassification?: string | null
}

/** How fast a provider promised to answer, which has its price. */
export type ServiceTier = 'standard' | 'batch' | 'flex' | 'priority' | 'ultrafast' | 'other'

/** A session by id. */
export interface SessionByIdArguments {
  /** The session. */
  session: SessionId
}

/** An id of the form `ses_<uuid>`. */
export type SessionId = string

/** A conversation with an agent: one turn at a time. */
export interface SessionRecord {
  /** The turn that is under way. */
  activeRun: RunId | null
  /** The agent. */
  agent: AgentId
  /** When it was opened. */
  createdAt: Timestamp
  /** The id. */
  id: SessionId
  /** Whose conversation it is. */
  user: UserId
}

/** Whether a problem stops a deployment. */
export type Severity = 'error' | 'warning'

/** Where the bytes of a file are. */
export type Source = {
  base64: string
} | {
  url: string
}

/** A span of time. */
export interface SpanArguments {
  /** First point in time; with `to` also absent, the start of this month in UTC. */
  from?: Timestamp | null
  /** First point in time after it; with `from` also absent, the end of this month in UTC. */
  to?: Timestamp | null
}

/** An error as it is journaled: what a tenant may read. */
export interface StepError {
  /** The kind. */
  kind: ErrorKind
  /** The message. */
  message: string
}

/** What a step does. */
export type StepKind = 'model' | 'tool'

/** A tenant. */
export interface Tenant {
  /** When it was made. */
  createdAt: Timestamp
  /** The domain, unique among the tenants that are not deleted; free again after deletion. */
  domain: string | null
  /** The id. */
  id: TenantId
  /** The name, at most 255 characters. */
  name: string
  /** The plan it is on. */
  plan: string | null
  /** Where its data must stay. */
  region: string | null
  /** Counts its changes. */
  revision: number
  /** Settings of the host. */
  settings: Record<string, Json>
  /** Whether anything may be done. */
  state: TenantState
  /** When it was last changed. */
  updatedAt: Timestamp
}

/** A tenant by id. */
export interface TenantByIdArguments {
  /** The tenant. */
  tenant: TenantId
}

/** A change of a tenant: what is given is replaced, the rest stays. */
export interface TenantChangeArguments {
  /** The new name. */
  name?: string | null
  /** The new plan; null for no plan. */
  plan?: string | null
  /** The new settings, instead of all the old ones. */
  settings?: Record<string, Json> | null
  /** The tenant. */
  tenant: TenantId
}

/** A tenant to be made. */
export interface TenantCreateArguments {
  /** The domain, unique among tenants. */
  domain?: string | null
  /** The name, 1 to 255 characters. */
  name: string
  /** The plan, 1 to 255 characters. */
  plan?: string | null
  /** Where the tenant's data must stay, 1 to 255 characters; it cannot be changed later. */
  region?: string | null
  /** Settings of the host, at most 64 KiB as JSON. */
  settings?: Record<string, Json> | null
}

/** A tenant to be deleted. */
export interface TenantDeleteArguments {
  /**
   * The path of the file its last archive is written to; null, which has to be said, for no archive and no way
   * back.
   */
  archive?: string | null
  /** The tenant. */
  tenant: TenantId
}

/** An id of the form `ten_<uuid>`. */
export type TenantId = string

/** Whether a tenant's users and agents may do anything. */
export type TenantState = 'active' | 'suspended' | 'deleted'

/** What a test of an integration tried, and what came of it. */
export interface TestResult {
  /** Whose account it is connected to. */
  account: Account | null
  /** Where the request went. */
  baseUrl: string | null
  /** How long it took, in milliseconds. */
  durationMs: number
  /** Why it cannot be used. */
  error: ErrorKind | null
  /** Whether it can be used. */
  healthy: boolean
  /** In words, for people. */
  message: string | null
  /** The operation that was called; absent where the connector has none to try. */
  operation: string | null
}

/** A time of day in UTC, such as `16:30`. */
export type TimeOfDay = string

/** An RFC 3339 time with microseconds. */
export type Timestamp = string

/** Where the time of a delivery is. */
export type TimestampPlace = {
  header: string
} | {
  entry: string
}

/** Which tools a model may call. */
export type ToolChoice = 'auto' | 'none' | 'required' | {
  tool: string
}

/** A tool as a model sees it. */
export interface ToolDefinition {
  /** What it does, for the model. */
  description: string
  /** JSON Schema of its input. */
  inputSchema: Json
  /** The name the model calls it by. */
  name: string
}

/** A tool call as a model asked for it. */
export interface ToolRequest {
  /** The exact argument bytes the model sent. */
  arguments: string
  /** Whether the arguments are whole: a call cut off in the middle is never executed. */
  complete: boolean
  /** The provider's id of the call, which the result names. */
  id: string
  /** The tool. */
  name: string
}

/** What a tool is, as the host says. */
export interface ToolSpec {
  /** Whether a person must agree first; default `never`. */
  approval?: Approval
  /** What it does, for the model. */
  description: string
  /** What calling it does to the world; default `unsafe`. */
  effect?: Effect
  /** JSON Schema of its input; an object. */
  inputSchema: Json
  /** The name agents and models use: 1 to 64 of `a-z A-Z 0-9 _ -`. */
  name: string
  /** A permission the caller needs, and the agent among its capabilities, beside `agents:run`. */
  permission?: string | null
  /** The longest a call may take, in milliseconds; default 60 000. */
  timeoutMs?: number | null
}

/** 64 hexadecimal digits. */
export type TreeHash = string

/** One request to one model. */
export interface Trial {
  /** The text of the answer; `None` when there is none. */
  answer: string | null
  /** What all attempts cost: decimal dollars in JSON, and `null` when it is unknown. */
  cost: NanoUsd | null
  /** Why there is none. */
  failure?: Failure | null
  /** How long it took to the first piece, in microseconds; `None` when it was not streamed or there was none. */
  firstContentUs: number | null
  /** How long it took, in microseconds, also to fail. */
  latencyUs: number
  /** The ground of the score, in words. */
  reason?: string | null
  /** The score, in thousandths; `None` when it was not scored. */
  score: number | null
  /** Why there is no score although there is an answer. */
  scoreFailure?: Failure | null
  /** What scoring cost. */
  scoringCost: NanoUsd | null
  /** Token counts of all attempts; `None` when none were reported. */
  usage: Usage | null
}

/** A turn of a session. */
export interface TurnArguments {
  /** When it must be over, if before what the agent allows. */
  deadline?: Timestamp | null
  /** A second turn with the same key and input gives the same run. */
  idempotencyKey?: string | null
  /** Text, or JSON that matches the agent's input schema: `{"text": "…"}` or `{"json": …}`. */
  input: RunInput
  /** Another user the caller acts for, as the host says; recorded with the run. */
  onBehalfOf?: string | null
  /** What becomes of it when nobody watches it any more; default `continue`. */
  onDisconnect?: OnDisconnect | null
  /** The session. */
  session: SessionId
}

/**
 * What an answer is paid by, as the provider reported it: token counts above all. A field that was not reported is
 * absent, never invented as zero.
 */
export interface Usage {
  /** Prompt tokens that are billed, where the provider says so apart from what the model read. */
  billedInputTokens?: number | null
  /** Completion tokens that are billed, where the provider says so apart from what the model wrote. */
  billedOutputTokens?: number | null
  /** Those of the prompt tokens that were read from the provider's cache. */
  cacheReadTokens: number | null
  /** Those of the cache writes that are kept for an hour, where the provider prices these apart. */
  cacheWrite1hTokens?: number | null
  /** Those of the prompt tokens that were written to the provider's cache. */
  cacheWriteTokens: number | null
  /** Prompt tokens, including cache reads and writes. */
  inputTokens: number | null
  /** Billable completion tokens, including reasoning. */
  outputTokens: number | null
  /** Those of the completion tokens that were reasoning. */
  reasoningTokens: number | null
  /** Searches that are billed, where the provider bills by these. */
  searchUnits?: number | null
  /** The service tier that answered. */
  serviceTier?: ServiceTier | null
}

/** One exact count, written by the transaction of the work it counts. Its id makes a second delivery harmless. */
export interface UsageEvent {
  /** The agent that did it. */
  agent: AgentId | null
  /** When the work was done. */
  at: Timestamp
  /** What it cost, on one event per piece of work (the `llm.requests` one of a model call); absent where unknown. */
  cost: NanoUsd | null
  /** The id. */
  id: UsageId
  /** What is counted. */
  meter: Meter
  /** The model, for the LLM meters. */
  model: string | null
  /** How much, in the unit of the meter. */
  quantity: number
  /** The run it was part of. */
  run: RunId | null
  /** On whose behalf. */
  user: UserId | null
}

/** A part of the usage events. */
export interface UsageEventsArguments {
  /** The event to begin after; from the first where absent. */
  after?: UsageId | null
  /** At most this many events, 1 to 500; default 100. */
  limit?: number | null
}

/** An id of the form `use_<uuid>`. */
export type UsageId = string

/**
 * What an answer is paid by, as the provider reported it: token counts above all. A field that was not reported is
 * absent, never invented as zero.
 */
export interface UsageInput {
  /** Prompt tokens that are billed, where the provider says so apart from what the model read. */
  billedInputTokens?: number | null
  /** Completion tokens that are billed, where the provider says so apart from what the model wrote. */
  billedOutputTokens?: number | null
  /** Those of the prompt tokens that were read from the provider's cache. */
  cacheReadTokens?: number | null
  /** Those of the cache writes that are kept for an hour, where the provider prices these apart. */
  cacheWrite1hTokens?: number | null
  /** Those of the prompt tokens that were written to the provider's cache. */
  cacheWriteTokens?: number | null
  /** Prompt tokens, including cache reads and writes. */
  inputTokens?: number | null
  /** Billable completion tokens, including reasoning. */
  outputTokens?: number | null
  /** Those of the completion tokens that were reasoning. */
  reasoningTokens?: number | null
  /** Searches that are billed, where the provider bills by these. */
  searchUnits?: number | null
  /** The service tier that answered. */
  serviceTier?: ServiceTier | null
}

/** Sums of usage events over a period. */
export interface UsageSummary {
  /** The sum of the known costs. */
  costUsd: NanoUsd
  /** The sum per meter, for meters that were used. */
  meters: Partial<Record<'compute.ms' | 'egress.bytes' | 'integration.calls' | 'llm.requests' | 'llm.tokens.input' | 'llm.tokens.output' | 'memory.byte_seconds' | 'storage.byte_seconds' | 'vector.ops', number>>
  /** Model calls whose cost is unknown, because the model has no price. */
  unpricedRequests: number
}

/** A user of a tenant. The same person in two tenants is two users. */
export interface User {
  /** Whether the user may do anything. */
  active: boolean
  /** When the user was made. */
  createdAt: Timestamp
  /** The e-mail address, unique within the tenant. */
  email: string
  /** The id. */
  id: UserId
  /** The full name. */
  name: string | null
  /** Counts the changes. */
  revision: number
  /** The roles. */
  roles: Role[]
  /** When the user was last changed. */
  updatedAt: Timestamp
}

/** A user by id. */
export interface UserByIdArguments {
  /** The user. */
  user: UserId
}

/** A change of a user: what is given is replaced, the rest stays. */
export interface UserChangeArguments {
  /** Whether the user may do anything. */
  active?: boolean | null
  /** The new name; null for no name. */
  name?: string | null
  /** The new roles, instead of all the old ones. */
  roles?: Role[] | null
  /** The user. */
  user: UserId
}

/** A user to be made. */
export interface UserCreateArguments {
  /** The e-mail address, unique within the tenant. */
  email: string
  /** The full name, 1 to 255 characters. */
  name?: string | null
  /** The roles, at most 64. */
  roles?: Role[] | null
}

/** An id of the form `usr_<uuid>`. */
export type UserId = string

/** The result of checking a specification. */
export interface Validation {
  /** Problems that stop a deployment. */
  errors: Problem[]
  /** Problems that do not. */
  warnings: Problem[]
}

/** 64 hexadecimal digits. */
export type VersionHash = string

/** A delivery, without its body. */
export interface WebhookDelivery {
  /** How often work on it was begun, over all replays. */
  attempts: number
  /** The SHA-256 of the last such body, in hexadecimal; absent where there was none. */
  conflictDigest: string | null
  /** How often its key came with another body; none of these was kept. */
  conflicts: number
  /** The SHA-256 of its body, in hexadecimal. */
  digest: string
  /** The endpoint. */
  endpoint: EndpointId
  /** How the last attempt that ended has failed, as a code of errors; absent where it went well. */
  error: string | null
  /** When it was over. */
  finishedAt: Timestamp | null
  /** The id. */
  id: DeliveryId
  /** By which repeats are told, within the endpoint. */
  key: string
  /** What happened, in the vendor's words. */
  kind: string
  /** When it came. */
  receivedAt: Timestamp
  /** How often it came again with the same body. */
  repeats: number
  /** Runs that it has started. */
  runs: RunId[]
  /** What became of it. */
  state: DeliveryState
}

/** An endpoint. Its secret is nowhere in it. */
export interface WebhookEndpoint {
  /** The last part of its URL, `hok_<tenant>_<endpoint>`. */
  address: string
  /** When it was made. */
  createdAt: Timestamp
  /** The id. */
  id: EndpointId
  /** The integration it belongs to. */
  integration: IntegrationId | null
  /** The name, unique within the tenant. */
  name: string
  /** On whose behalf deliveries are worked on. */
  owner: UserId
  /** Counts the changes. */
  revision: number
  /** How deliveries prove whose they are. */
  scheme: WebhookScheme
  /** How a generic sender's deliveries are read. */
  source: WebhookSource | null
  /** Whether it takes deliveries. */
  state: EndpointState
  /** What comes of deliveries. */
  triggers: WebhookTrigger[]
  /** When it was last changed. */
  updatedAt: Timestamp
  /** Who sends. */
  vendor: WebhookVendor
}

/** How a delivery proves whose it is. Secrets are not part of it, so it can be stored and shown. */
export type WebhookScheme =
  | GithubWebhookScheme
  | SlackWebhookScheme
  | GitlabTokenWebhookScheme
  | GitlabSignedWebhookScheme
  | JiraWebhookScheme
  | PagerdutyWebhookScheme
  | StripeWebhookScheme
  | StandardWebhooksWebhookScheme
  | BearerWebhookScheme
  | BasicWebhookScheme
  | HmacWebhookScheme

/** `x-hub-signature-256: sha256=<hex>`, over the body. The SHA-1 signature of `x-hub-signature` is not looked at. */
export interface GithubWebhookScheme {
  scheme: 'github'
}

/** `x-slack-signature: v0=<hex>`, over `v0:<timestamp>:<body>`. */
export interface SlackWebhookScheme {
  scheme: 'slack'
}

/** `x-gitlab-token` is the secret token itself. */
export interface GitlabTokenWebhookScheme {
  scheme: 'gitlab_token'
}

/** The signing token of GitLab, `whsec_…`, which is `Scheme::StandardWebhooks`. */
export interface GitlabSignedWebhookScheme {
  scheme: 'gitlab_signed'
}

/** `x-hub-signature: sha256=<hex>`, over the body (Jira Cloud, WebSub). */
export interface JiraWebhookScheme {
  scheme: 'jira'
}

/** `x-pagerduty-signature: v1=<hex>,v1=<hex>`, over the body (webhooks v3). */
export interface PagerdutyWebhookScheme {
  scheme: 'pagerduty'
}

/** `stripe-signature: t=<timestamp>,v1=<hex>`, over `<timestamp>.<body>`. */
export interface StripeWebhookScheme {
  scheme: 'stripe'
}

/**
 * `webhook-signature: v1,<base64> v1,<base64>`, over `<id>.<timestamp>.<body>`, also by the names `svix-…`. Secrets
 * are `whsec_<base64>`; signatures by a key pair, `v1a,<base64>`, are passed over.
 */
export interface StandardWebhooksWebhookScheme {
  scheme: 'standard_webhooks'
}

/** `authorization: Bearer <secret>` (Alertmanager). */
export interface BearerWebhookScheme {
  scheme: 'bearer'
}

/** `authorization: Basic <user:secret>` (Azure DevOps, Alertmanager). */
export interface BasicWebhookScheme {
  scheme: 'basic'
  /** The user; may be empty. */
  user: string
}

/** Anything else that is an HMAC. */
export interface HmacWebhookScheme {
  /** The hash; without it, SHA-256. */
  algorithm: Algorithm
  /** How signatures are written; without it, hex. */
  encoding: Encoding
  /** The header with the signature. */
  header: string
  /** The header with the id of the delivery, where it is signed. */
  idHeader?: string | null
  /** How secrets are written; without it, the text is the key. */
  key: KeyForm
  /** What stands before each signature, as `sha256=`; without it, nothing. */
  prefix: string
  scheme: 'hmac'
  /** What stands between several signatures; without it there is one. */
  separator?: string | null
  /** What is signed, with `{body}` once, and `{timestamp}` and `{id}` where they are; without it, the body. */
  signed: string
  /**
   * Where the time of the delivery is, in seconds since 1970; without it, deliveries do not age, and only their ids tell
   * replays.
   */
  timestamp?: TimestampPlace | null
  /** How far the time may be from now, in seconds; without it, `TOLERANCE_S`. */
  toleranceS: number
}

/** How a delivery proves whose it is. Secrets are not part of it, so it can be stored and shown. */
export type WebhookSchemeInput =
  | GithubWebhookScheme
  | SlackWebhookScheme
  | GitlabTokenWebhookScheme
  | GitlabSignedWebhookScheme
  | JiraWebhookScheme
  | PagerdutyWebhookScheme
  | StripeWebhookScheme
  | StandardWebhooksWebhookScheme
  | BearerWebhookScheme
  | BasicWebhookScheme
  | HmacWebhookSchemeInput

/** Anything else that is an HMAC. */
export interface HmacWebhookSchemeInput {
  /** The hash; without it, SHA-256. */
  algorithm?: Algorithm
  /** How signatures are written; without it, hex. */
  encoding?: Encoding
  /** The header with the signature. */
  header: string
  /** The header with the id of the delivery, where it is signed. */
  idHeader?: string | null
  /** How secrets are written; without it, the text is the key. */
  key?: KeyForm
  /** What stands before each signature, as `sha256=`; without it, nothing. */
  prefix?: string
  scheme: 'hmac'
  /** What stands between several signatures; without it there is one. */
  separator?: string | null
  /** What is signed, with `{body}` once, and `{timestamp}` and `{id}` where they are; without it, the body. */
  signed?: string
  /**
   * Where the time of the delivery is, in seconds since 1970; without it, deliveries do not age, and only their ids tell
   * replays.
   */
  timestamp?: TimestampPlace | null
  /** How far the time may be from now, in seconds; without it, `TOLERANCE_S`. */
  toleranceS?: number
}

/** Where a sender that is no `Vendor` of its own puts what an event is made of. What is not named is not read. */
export interface WebhookSource {
  /** Attributes by name, each as a JSON pointer into the body. */
  attributes: Record<string, string>
  /** The header with the id of the delivery; without it, the digest of the body is the id. */
  idHeader: string | null
  /** Where the body has the kind, as a JSON pointer; without either, the kind is `delivery`. */
  kind: string | null
  /** The header with the kind. */
  kindHeader: string | null
  /** Where the body has the id of what the event is about, as a JSON pointer. */
  subject: string | null
  /** Where the body has the time of the change, as a JSON pointer; with `subject` it orders events. */
  time: string | null
}

/** Where a sender that is no `Vendor` of its own puts what an event is made of. What is not named is not read. */
export interface WebhookSourceInput {
  /** Attributes by name, each as a JSON pointer into the body. */
  attributes?: Record<string, string>
  /** The header with the id of the delivery; without it, the digest of the body is the id. */
  idHeader?: string | null
  /** Where the body has the kind, as a JSON pointer; without either, the kind is `delivery`. */
  kind?: string | null
  /** The header with the kind. */
  kindHeader?: string | null
  /** Where the body has the id of what the event is about, as a JSON pointer. */
  subject?: string | null
  /** Where the body has the time of the change, as a JSON pointer; with `subject` it orders events. */
  time?: string | null
}

/** What comes of a delivery: a run of an agent. */
export interface WebhookTrigger {
  /** The agent whose run is started. */
  agent: AgentId
  /** Which events are meant; all where absent. */
  filter: EventFilter
  /** The run's input: a template over `event` and `body`, as `Look into {{ body.issue.title }}.`. */
  input: string
  /** Whether an event is left out that is older than what is known of its thing; default no. */
  newestOnly: boolean
}

/** What comes of a delivery: a run of an agent. */
export interface WebhookTriggerInput {
  /** The agent whose run is started. */
  agent: AgentId
  /** Which events are meant; all where absent. */
  filter?: EventFilter
  /** The run's input: a template over `event` and `body`, as `Look into {{ body.issue.title }}.`. */
  input: string
  /** Whether an event is left out that is older than what is known of its thing; default no. */
  newestOnly?: boolean
}

/** Who sends a webhook, and so how it is read. */
export type WebhookVendor = 'github' | 'slack' | 'gitlab' | 'jira' | 'pagerduty' | 'alertmanager' | 'azure_devops' | 'stripe' | 'standard' | 'generic'

/** A day of the week. */
export type Weekday = 'mon' | 'tue' | 'wed' | 'thu' | 'fri' | 'sat' | 'sun'

/** A delivery as it came. */
export interface WholeWebhookDelivery {
  /** The body, byte by byte. */
  body: string
  /** The delivery. */
  delivery: WebhookDelivery
  /** The headers that are kept: none of those that prove who sent it. */
  headers: Record<string, Json>
}
