/** `xm top`, also called xentop: xm-xend 1.8 and 11.4. */
import { command, UserError } from '../command.ts';
import { wholeNumber } from '../parse.ts';
import { heading, type Row, rowText } from '../top/columns.ts';
import { Sampler } from '../top/sampler.ts';
import { watch } from '../top/screen.ts';

const DELAY_S = 3;

export const top = command({
  name: 'top',
  aliases: ['xentop'],
  group: 'node',
  summary: 'Show what all domains use, again and again',
  details: `
On a terminal it fills the screen: q quits, s sorts by the next column. With --batch it prints a table each time; the first has
no percentages yet, because there is nothing to compare with.`,
  options: {
    batch: { type: 'boolean', short: 'b', help: 'print tables one after the other, for scripts' },
    iterations: { type: 'string', short: 'i', value: 'N', help: 'so many times; without end when not given' },
    delay: { type: 'string', short: 'd', value: 'SECONDS', help: `between two looks; ${DELAY_S} when not given` },
    'full-name': { type: 'boolean', short: 'f', help: 'names in full, not cut to ten letters' },
  },
  async run({ flags, xend, out }) {
    const times =
      flags.iterations === undefined
        ? Number.POSITIVE_INFINITY
        : wholeNumber('top', String(flags.iterations), 'the number of iterations', 1);
    const delayS = Number(flags.delay ?? DELAY_S);
    if (!(delayS >= 0 && delayS <= 86_400))
      throw new UserError(`top: Invalid value: ${flags.delay}: the delay is a number of seconds`);
    const sampler = new Sampler();
    const look = async (): Promise<Row[]> => {
      const [domains, node] = await Promise.all([xend.call('GET /domains', {}), xend.call('GET /node', {})]);
      return sampler.rows({ domains, node, atMs: performance.now() }, flags['full-name'] === true);
    };
    if (!flags.batch) {
      if (!process.stdout.isTTY) throw new UserError('top: standard output is no terminal: --batch prints tables');
      return watch(look, delayS * 1000, times);
    }
    for (let seen = 0; seen < times; seen++) {
      if (seen > 0) await new Promise((resolve) => setTimeout(resolve, delayS * 1000));
      const rows = await look();
      out(`${[heading(), ...rows.map(rowText)].join('\n')}\n`);
    }
  },
});
