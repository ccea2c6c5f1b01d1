/** Disks of a domain: 2.0's vbd-list, vbd-create and vbd-destroy, and what later tools call them (xm-xend 1.3, 1.8, 1.9). */
import { parseDisk } from '../../config/disk.ts';
import { diskSxp } from '../../config/domain-sxp.ts';
import { printCompact, printPretty } from '../../config/sxp.ts';
import type { DiskView } from '../../xend/view.ts';
import { type Context, command, UserError } from '../command.ts';
import { line } from '../table.ts';

const disksOf = ({ args, xend }: Context): Promise<DiskView[]> =>
  xend.call('GET /domains/:name/disks', { name: args[0]! });

export const vbdList = command({
  name: 'vbd-list',
  group: 'block',
  params: ['DOM'],
  successor: 'block-list',
  summary: 'List the disks of a domain, one SXP a line',
  json: true,
  async run(context) {
    const disks = await disksOf(context);
    context.show(disks, () => disks.map((disk) => `${printCompact(diskSxp(disk, disk.idx))}\n`).join(''));
  },
});

export const blockList = command({
  name: 'block-list',
  group: 'block',
  params: ['DOM...'],
  summary: 'List the disks of domains with their state',
  details: 'State 4 is a disk that the guest uses, 2 one that it could.',
  options: { long: { type: 'boolean', short: 'l', help: 'print everything known, as SXP' } },
  json: true,
  layouts: true,
  async run(context) {
    const of = (name: string) => context.xend.call('GET /domains/:name/disks', { name });
    const disks = (await Promise.all(context.args.map(of))).flat();
    context.show(disks, () => {
      if (context.flags.long) return disks.map((disk) => printPretty(diskSxp(disk, disk.idx))).join('');
      const row = (...cells: (string | number)[]) => line('%-5s %-3s %-6s %-5s %-6s %-8s %-30s', ...cells);
      const rows = disks.map(({ vdev, idx, state, eventChannel, ringRef, backend }) =>
        row(vdev, 0, idx, state, eventChannel ?? -1, ringRef ?? -1, backend),
      );
      const header =
        context.dialect === 'xl'
          ? row('Vdev', 'BE', 'handle', 'state', 'evt-ch', 'ring-ref', 'BE-path')
          : 'Vdev  BE handle state evt-ch ring-ref BE-path\n';
      return header + rows.join('');
    });
  },
});

/** The words of 2.0 are the parts of a disk string. */
async function attach({ args, xend }: Context, words: readonly string[]): Promise<void> {
  const disk = parseDisk(words.join(','), process.cwd());
  await xend.call('POST /domains/:name/disks/attach', { name: args[0]!, disk });
}

export const vbdCreate = command({
  name: 'vbd-create',
  group: 'block',
  params: ['DOM', 'UNAME', 'DEV', 'MODE', '[BACKEND]'],
  successor: 'block-attach',
  summary: 'Give a running domain one disk more',
  details: `
UNAME is file:PATH or phy:NAME, DEV the guest's name for it, MODE r or w; "w!" skips the check whether others use it.`,
  run: (context) => attach(context, context.args.slice(1)),
});

export const blockAttach = command({
  name: 'block-attach',
  group: 'block',
  params: ['DOM', 'DISK...'],
  summary: 'Give a running domain one disk more',
  details: `
DISK is a disk as in a configuration file, file:PATH,DEVICE,MODE or xl's notation, or its parts as words of their own:
BACKEND-DEVICE FRONTEND-DEVICE MODE.`,
  async run(context) {
    const words = context.args.slice(1);
    // Words that are disks of their own; otherwise they are the parts of one.
    if (words[0]!.includes(',')) for (const word of words) await attach(context, [word]);
    else if (words.length < 3) throw new UserError('block-attach: Missing arguments');
    else if (words.length > 4) throw new UserError('block-attach: Invalid argument(s)');
    else await attach(context, words);
  },
});

async function detach({ args, flags, xend }: Context): Promise<void> {
  const [name, dev] = args;
  await xend.call('POST /domains/:name/disks/detach', { name: name!, dev: dev!, force: flags.force === true });
}

const FORCE = {
  force: { type: 'boolean', short: 'f', help: 'take it away even if the guest does not let go of it' },
} as const;

export const vbdDestroy = command({
  name: 'vbd-destroy',
  group: 'block',
  params: ['DOM', 'IDX'],
  successor: 'block-detach',
  summary: 'Take a disk away from a running domain',
  details: 'IDX is the idx that vbd-list shows; a device name will do as well.',
  options: FORCE,
  run: detach,
});

export const blockDetach = command({
  name: 'block-detach',
  group: 'block',
  params: ['DOM', 'DEV'],
  summary: 'Take a disk away from a running domain',
  details: `
DEV is the guest's name for it or its number. The guest is asked to let go: a Linux of today does at once, mounted or not, so
unmount it first. The disk with the root file system is only taken with -f.`,
  options: FORCE,
  run: detach,
});
