/** `import { connect, createDomain } from 'domus'`: domains as values. docs/sdk.md tells the story. */
export type { Disk, DomainConfig, Vif } from '../config/domain-config.ts';
export { AgentError } from '../host/agent-link.ts';
export { CopyError } from '../host/copy-error.ts';
export type { CopyOptions } from '../host/guest-files.ts';
export type { EventType, XendEvent } from '../xend/events.ts';
export type { NodeInfo } from '../xend/node-info.ts';
export type { Input, Reply, RouteName } from '../xend/routes.ts';
export type {
  ChannelView,
  DiskView,
  DomainView,
  ExitView,
  OperationView,
  Profile,
  SchedulingView,
  VcpuView,
} from '../xend/view.ts';
export { ApiError, type Target, XendClient } from './client.ts';
export { type ConnectOptions, connect, createDomain } from './connect.ts';
export { type Console, ExpectError, type ExpectOptions, type Match } from './console.ts';
export type { ConsoleOptions, Domain, ShutdownOptions } from './domain.ts';
export type { CreateOptions, DomainFile, DomainInit, DomainValues } from './domain-init.ts';
export type { EventFilter } from './events.ts';
export type { ExecOptions, ExecResult } from './exec.ts';
export type { GuestExit, GuestProcess, StartOptions } from './guest-process.ts';
export type { Host } from './host.ts';
export { ttylinux } from './ttylinux.ts';
