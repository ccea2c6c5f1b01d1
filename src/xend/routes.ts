/**
 * The API, one row a request: what it does, what it takes, what it does it with, what it answers. The server checks requests
 * by `input`, the client's types and the OpenAPI document come from here. Fields of `input` named in the path travel there,
 * the others in the query of a GET or the JSON body of a POST.
 */
import { type Static, type TObject, type TProperties, type TSchema, Type } from '@sinclair/typebox';
import { Disk, DomainConfig } from '../config/domain-config.ts';
import { XendEvent } from './events.ts';
import { NodeInfo } from './node-info.ts';
import { ChannelView, DiskView, DomainView, ExitView, Profile, SchedulingView, VcpuView } from './view.ts';
import type { ShutdownReason, Xend } from './xend.ts';

export interface Route<P extends TProperties, R> {
  readonly summary: string;
  readonly input: TObject<P>;
  readonly run: (xend: Xend, input: Static<TObject<P>>) => Promise<R> | R;
  /** What `run` answers, for the document. */
  readonly reply: TSchema;
}

const route = <P extends TProperties, R>(
  summary: string,
  input: P,
  run: Route<P, R>['run'],
  reply: TSchema = Done,
): Route<P, R> => ({ summary, input: Type.Object(input, { additionalProperties: false }), run, reply });

/** Whatever it is, it is looked for. */
const Name = Type.String();
const Reason = Type.Union([Type.Literal('poweroff'), Type.Literal('reboot'), Type.Literal('halt')]);
const Key = Type.String({ pattern: '^[0-9a-zA-Z]$' });
const Cpus = Type.Array(Type.Integer({ minimum: 0, maximum: 4095 }), { maxItems: 4096 });
const MiB = Type.Integer({ minimum: 1 });
const Share = {
  weight: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
  cap: Type.Optional(Type.Integer({ minimum: 0, maximum: 100_000 })),
};
const WaitS = Type.Optional(Type.Number({ minimum: 0, maximum: 60, description: 'how long to wait, seconds' }));
const StartAfterS = Type.Optional(
  Type.Number({
    minimum: 0,
    maximum: 3600,
    description:
      'run it by itself so many seconds after it is made, unless somebody has run or paused it by then; 0: at once',
  }),
);
/** Done; nothing to tell. */
const Done = Type.Object({ ok: Type.Literal(true) }, { $id: 'Done' });
export type Done = Static<typeof Done>;
const Text = Type.Object({ text: Type.String() });
const Settings = Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()]), {
  description: 'by their names in xend-config.sxp',
});
type Settings = Static<typeof Settings>;
const Daemon = Type.Object({ version: Type.String(), pid: Type.Integer() });
const Asked = Type.Object({ uuid: Type.String(), builds: Type.Integer() });
const Agent = Type.Object({ socket: Type.String(), uuid: Type.String() });
const Console = Type.Object({ socket: Type.String(), log: Type.String(), uuid: Type.String() });
const Events = Type.Object({
  events: Type.Array(XendEvent),
  complete: Type.Boolean({ description: 'false: some events after `since` are kept no more' }),
  last: Type.Integer({ description: 'number of the latest event: the next `since`' }),
});
type Events = Static<typeof Events>;
const OK: Done = { ok: true };
const done = (work: Promise<void>): Promise<Done> => work.then(() => OK);

// biome-ignore format: a table
export const ROUTES = {
  'GET /xend':                    route('This daemon: version and process',      {}, (): { version: string; pid: number } => ({ version: VERSION, pid: process.pid }), Daemon),
  'GET /node':                    route('Facts about this machine',              {}, (xend): NodeInfo => xend.node(), NodeInfo),
  'GET /node/config':             route('The settings that this daemon runs with', {}, (xend): Settings => xend.ports.settings, Settings),
  'GET /node/dmesg':              route('The hypervisor\'s messages',            {}, (xend): { text: string } => ({ text: xend.ports.messages.text() }), Text),
  'POST /node/dmesg/clear':       route('Forget the messages; answers them',     {}, (xend): { text: string } => { const text = xend.ports.messages.text(); xend.ports.messages.clear(); return { text }; }, Text),
  'GET /node/log':                route('xend\'s log file',                      {}, (xend): { text: string } => ({ text: xend.ports.log.text() }), Text),
  'GET /domains':                 route('All domains, by name',                  {}, (xend): Promise<DomainView[]> => xend.list(), Type.Array(DomainView)),
  'POST /domains':                route('Make a domain; it is left paused unless it is to start', { config: DomainConfig, startAfterS: StartAfterS }, (xend, { config, startAfterS }): Promise<DomainView> => xend.create(config as DomainConfig, { startAfterS }), DomainView),
  'GET /domains/:name':           route('One domain, by name, id or uuid',       { name: Name }, (xend, { name }): Promise<DomainView> => xend.view(name), DomainView),
  'POST /domains/:name/unpause':  route('Run it',                                { name: Name }, (xend, { name }) => done(xend.unpause(name))),
  'POST /domains/:name/pause':    route('Stop executing it',                     { name: Name }, (xend, { name }) => done(xend.pause(name))),
  'POST /domains/:name/shutdown': route('Ask the guest to end or restart',       { name: Name, reason: Reason }, (xend, { name, reason }): Promise<{ uuid: string; builds: number }> => xend.shutdown(name, reason as ShutdownReason), Asked),
  'POST /domains/:name/destroy':  route('End it now',                            { name: Name }, (xend, { name }) => done(xend.destroy(name))),
  'POST /domains/:name/reset':    route('Restart it now, without asking its guest', { name: Name }, (xend, { name }) => done(xend.controls.reset(name))),
  'POST /domains/:name/rename':   route('Give it another name',                  { name: Name, newName: Name }, (xend, { name, newName }) => done(xend.controls.rename(name, newName))),
  'POST /domains/:name/sysrq':    route('Send a SysRq key to its kernel',        { name: Name, key: Key }, (xend, { name, key }) => done(xend.controls.sysrq(name, key))),
  'POST /domains/:name/nmi':      route('Send it a non-maskable interrupt',      { name: Name }, (xend, { name }) => done(xend.controls.nmi(name))),
  'POST /domains/:name/core':     route('Write its memory and registers to a file', { name: Name, file: Type.Optional(Type.String({ minLength: 1 })) }, async (xend, { name, file }): Promise<{ file: string }> => ({ file: await xend.controls.dumpCore(name, file) }), Type.Object({ file: Type.String() })),
  'POST /domains/:name/profile':  route('Watch for some seconds where its time goes', { name: Name, seconds: Type.Number({ minimum: 0.1, maximum: 600 }), regions: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })) }, (xend, { name, seconds, regions = 0 }): Promise<Profile> => xend.controls.profile(name, seconds, regions), Profile),
  'GET /domains/:name/disks':     route('Its disks',                             { name: Name }, (xend, { name }): Promise<DiskView[]> => xend.disks.list(name), Type.Array(DiskView)),
  'POST /domains/:name/disks/attach': route('One disk more',                     { name: Name, disk: Disk }, (xend, { name, disk }): Promise<DiskView> => xend.disks.attach(name, disk), DiskView),
  'POST /domains/:name/disks/detach': route('One disk less; force: whether or not its guest lets go', { name: Name, dev: Name, force: Type.Optional(Type.Boolean()) }, (xend, { name, dev, force }) => done(xend.disks.detach(name, dev, force ?? false))),
  'GET /domains/:name/channels':  route('Its channels',                          { name: Name }, (xend, { name }): Promise<ChannelView[]> => xend.controls.channels(name), Type.Array(ChannelView)),
  'GET /domains/:name/vcpus':     route('Its virtual CPUs',                      { name: Name }, (xend, { name }): Promise<VcpuView[]> => xend.controls.vcpus(name), Type.Array(VcpuView)),
  'POST /domains/:name/vcpus/pin': route('Which CPUs a vCPU may run on, or all of its vCPUs', { name: Name, vcpu: Type.Optional(Type.Integer({ minimum: 0 })), cpus: Cpus }, (xend, { name, vcpu, cpus }) => done(xend.controls.pin(name, vcpu, cpus))),
  'POST /domains/:name/vcpus':    route('How many virtual CPUs it is to have: as many as it has', { name: Name, vcpus: Type.Integer({ minimum: 1 }) }, (xend, { name, vcpus }) => { xend.controls.setVcpus(name, vcpus); return OK; }),
  'POST /domains/:name/memory':   route('How much memory it is to have: as much as it has', { name: Name, memoryMiB: MiB }, (xend, { name, memoryMiB }) => { xend.controls.setMemory(name, memoryMiB); return OK; }),
  'POST /domains/:name/maxmem':   route('How far its memory may grow',           { name: Name, maxmemMiB: MiB }, (xend, { name, maxmemMiB }) => done(xend.controls.setMaxmem(name, maxmemMiB))),
  'GET /domains/:name/scheduling': route('Its share of the CPUs',                { name: Name }, (xend, { name }): SchedulingView => xend.controls.scheduling(name), SchedulingView),
  'POST /domains/:name/scheduling': route('Change its share of the CPUs',        { name: Name, ...Share }, (xend, { name, ...share }): Promise<SchedulingView> => xend.controls.setScheduling(name, share), SchedulingView),
  'GET /domains/:name/console':   route('Where its console is',                  { name: Name }, (xend, { name }): { socket: string; log: string; uuid: string } => xend.console(name), Console),
  'GET /domains/:name/agent':     route('Where commands in it are asked for',    { name: Name }, (xend, { name }): { socket: string; uuid: string } => xend.agent(name), Agent),
  'GET /exits/:uuid':             route('How a domain ended; waits for its end', { uuid: Name, waitS: WaitS }, async (xend, { uuid, waitS }): Promise<{ exit?: ExitView }> => ({ exit: await xend.exitOf(uuid, (waitS ?? 0) * 1000) }), Type.Object({ exit: Type.Optional(ExitView) })),
  'GET /events':                  route('What happened after event `since`; waits for it', { since: Type.Optional(Type.Integer({ minimum: 0, description: 'the number of the latest event that you know; without it, only new ones' })), waitS: WaitS }, (xend, { since, waitS }): Promise<Events> => xend.eventsAfter(since ?? xend.ports.events.last, (waitS ?? 0) * 1000), Events),
};

export const VERSION = '0.1.0';

export type Routes = typeof ROUTES;
export type RouteName = keyof Routes;
export type Input<K extends RouteName> = Static<Routes[K]['input']>;
export type Reply<K extends RouteName> = Awaited<ReturnType<Routes[K]['run']>>;
