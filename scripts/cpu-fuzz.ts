/**
 * Compares our engines with the CPU of this machine on random instructions and states. The machinery is in test/cpu.
 */
import { parseArgs } from 'node:util';
import { decode } from '../src/x86/decode.ts';
import { disassemble } from '../src/x86/disassemble.ts';
import { blockForm } from '../test/cpu/blocks.ts';
import { type Difference, describeCase } from '../test/cpu/compare.ts';
import { type Form, formsOf } from '../test/cpu/forms.ts';
import { type Coverage, type FuzzReport, fuzz, judgeOutcomes, type Mismatch, strayed } from '../test/cpu/fuzz.ts';
import { fillCaseFromBytes } from '../test/cpu/generate.ts';
import { KNOWN } from '../test/cpu/known.ts';
import { CASE } from '../test/cpu/layout.ts';
import { hostVendor, Oracle, oracleMissing } from '../test/cpu/oracle.ts';
import { Random } from '../test/cpu/random.ts';
import { shrink } from '../test/cpu/shrink.ts';
import type { Subject } from '../test/cpu/subject.ts';
import { SUBJECTS } from '../test/cpu/subjects.ts';

const HELP = `usage: node scripts/run.mjs scripts/cpu-fuzz.ts [option]...

Runs random instructions with random state on this machine's CPU and on an engine, and compares everything that they leave.

  --cases N      how many cases (default 1000000)
  --seed S       a number (default: from the clock); the same seed gives the same cases
  --tier NAME    ${Object.entries(SUBJECTS)
    .map(([name, { about }]) => `${name}: ${about}`)
    .join('\n                 ')}
  --only TEXT    only forms whose mnemonic is TEXT, or whose key contains TEXT (several: separated by commas)
  --round R      with --only and --cases: begin at this round, to repeat one case
  --keep N       go on until N forms have mismatched (default 1; 0: to the end)
  --bytes HEX    this code, with --cases random states (default 1000)
  --blocks       several instructions in a row instead of one
  --flow         each instruction amid branches, merges and loops instead of alone
  --forms        list the forms and what is excluded, and why; run nothing
  --coverage     print the counts of every form, not only the sum
  --verbose      with --keep: print every mismatch in full
  --help`;

const options = {
  cases: { type: 'string' },
  seed: { type: 'string' },
  tier: { type: 'string', default: 't0' },
  only: { type: 'string' },
  round: { type: 'string', default: '0' },
  keep: { type: 'string', default: '1' },
  bytes: { type: 'string' },
  blocks: { type: 'boolean' },
  flow: { type: 'boolean' },
  forms: { type: 'boolean' },
  coverage: { type: 'boolean' },
  verbose: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;
const values = (() => {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    return fail(error instanceof Error ? error.message.split('\n')[0]! : String(error));
  }
})();
// `| head` is a reason to stop, not an error.
process.stdout.on('error', () => process.exit(1));
const print = (text: string): void => void process.stdout.write(`${text}\n`);

function fail(text: string): never {
  process.stderr.write(`cpu-fuzz: ${text}\n`);
  process.exit(1);
}
function number(name: 'cases' | 'seed' | 'round' | 'keep', fallback: number): number {
  const text = values[name];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) fail(`--${name} takes a whole number, not "${text}"`);
  return value;
}

function selected(): Form[] {
  const { forms } = formsOf();
  if (values.blocks || values.only === 'block') return [blockForm()];
  if (values.only === undefined) return forms;
  const wanted = values.only.split(',');
  // A key has commas itself: take the whole text first.
  const exact = forms.filter(({ key }) => key === values.only);
  const found =
    exact.length > 0
      ? exact
      : forms.filter((form) => wanted.some((text) => form.row.mnemonic === text || form.key.includes(`:${text}:`)));
  const result = found.length > 0 ? found : forms.filter((form) => form.key.includes(values.only!));
  if (result.length === 0) fail(`no form matches "${values.only}"; --forms lists them`);
  return result;
}

const hexBytes = (bytes: Uint8Array): string =>
  Buffer.from(bytes)
    .toString('hex')
    .replace(/..(?=.)/g, '$& ');

function text(bytes: Uint8Array): string {
  const padded = new Uint8Array(bytes.length + 32).fill(0x90);
  padded.set(bytes);
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const insn = decode(padded, at, padded.length);
    lines.push(typeof insn === 'string' ? `(our decoder says: ${insn})` : disassemble(insn));
    at += typeof insn === 'string' ? bytes.length : insn.length;
  }
  return lines.join(' ; ');
}

const list = (differences: Difference[]): string =>
  differences.map(({ field, host, ours }) => `  ${field}\n    host ${host}\n    ours ${ours}`).join('\n');

function showMismatch(mismatch: Mismatch, seed: number): void {
  print(`\nMISMATCH ${mismatch.form.key}`);
  print(`  ${hexBytes(mismatch.bytes)}   ${text(mismatch.bytes)}`);
  print(list(mismatch.differences));
  print('state before:');
  print(mismatch.state.replace(/^/gm, '  '));
  print('again:');
  print(
    `  node scripts/run.mjs scripts/cpu-fuzz.ts --tier ${values.tier} --seed ${seed} --only '${mismatch.form.key}' --round ${mismatch.round} --cases 1${values.flow ? ' --flow' : ''}`,
  );
}

function showCoverage(report: FuzzReport): void {
  for (const known of KNOWN) {
    const count = report.known.get(known) ?? 0;
    if (count > 0) print(`known, ${count} times: ${known.mnemonics.join(' ')}: ${known.about}`);
    else if (values.only === undefined && !values.blocks)
      print(`no longer known? ${known.mnemonics.join(' ')}: ${known.about}`);
  }
  if (report.strayed > 0) print(`strayed to memory of the oracle's process, and not compared: ${report.strayed} cases`);
  if (report.endless > 0) print(`without an end that anybody waits for, and not compared: ${report.endless} cases`);
  if (report.givenUp > 0)
    print(`given up with a batch that cost the oracle too many processes: ${report.givenUp} cases`);
  const { excluded } = formsOf();
  const rows = [...report.coverage];
  const is = (test: (coverage: Coverage) => boolean): [Form, Coverage][] =>
    rows.filter(([, coverage]) => test(coverage));
  const covered = is(({ cases, mismatched, unsupported: why }) => cases > 0 && mismatched === 0 && why === undefined);
  const unsupported = is((coverage) => coverage.unsupported !== undefined);
  const untested = is(({ cases, unsupported: why }) => cases === 0 && why === undefined);
  const faultsOnly = is(
    ({ completed, faulted, unsupported: why }) => completed === 0 && faulted > 0 && why === undefined,
  );
  const wrong = is(({ mismatched }) => mismatched > 0);
  if (values.coverage) {
    print('\n   cases  completed  faulted  mismatched  form');
    for (const [form, { cases, completed, faulted, mismatched }] of rows) {
      print(
        `${String(cases).padStart(8)}${String(completed).padStart(11)}${String(faulted).padStart(9)}${String(mismatched).padStart(12)}  ${form.key}`,
      );
    }
  }
  const names = (some: [Form, Coverage][]): string => {
    const counts = new Map<string, number>();
    for (const [form] of some) counts.set(form.row.mnemonic, (counts.get(form.row.mnemonic) ?? 0) + 1);
    return [...counts].map(([mnemonic, count]) => (count > 1 ? `${mnemonic}(${count})` : mnemonic)).join(' ');
  };
  const total = formsOf().forms.length;
  const translated = is((coverage) => coverage.translated > 0).length;
  if (translated > 0) print(`translated into regions: ${translated} forms`);
  print(`\nforms: ${total} in the opcode rows, ${covered.length} compared and equal, ${wrong.length} with mismatches`);
  if (wrong.length > 0) print(`  mismatched: ${names(wrong)}`);
  if (unsupported.length > 0) {
    print(`  MISSING, not run by the engine: ${names(unsupported)}`);
    const reasons = new Map<string, number>();
    for (const [, { unsupported: why }] of unsupported) {
      const line = why!.split('\n')[0]!;
      reasons.set(line, (reasons.get(line) ?? 0) + 1);
    }
    for (const [reason, count] of reasons) print(`    ${count} forms: ${reason}`);
  }
  if (untested.length > 0) print(`  MISSING, never compared: ${names(untested)}`);
  if (total > rows.length) print(`  not selected: ${total - rows.length}`);
  if (faultsOnly.length > 0) print(`  compared by their faults only: ${names(faultsOnly)}`);
  const reasons = new Map<string, Set<string>>();
  for (const { row, reason } of excluded) reasons.set(reason, (reasons.get(reason) ?? new Set()).add(row.mnemonic));
  print(`rows excluded: ${excluded.length}`);
  for (const [reason, mnemonics] of reasons) print(`  ${reason}: ${[...mnemonics].join(' ')}`);
}

async function fixedBytes(hex: string, oracle: Oracle, subject: Subject, seed: number): Promise<boolean> {
  const code = [...Buffer.from(hex.replace(/[^0-9a-fA-F]/g, ''), 'hex')];
  if (code.length === 0 || code.length > CASE.codeMax) fail(`--bytes takes 1 to ${CASE.codeMax} bytes in hexadecimal`);
  const count = number('cases', 1000);
  const cases = new Uint8Array(count * CASE.size);
  for (let i = 0; i < count; i++) fillCaseFromBytes(new Random(seed + i * 0x1_0000_0001), code, cases, i * CASE.size);
  const [host, ours] = [await oracle.run(cases, count), await subject.run(cases, count)];
  for (let i = 0; i < count; i++) {
    const differences = judgeOutcomes(cases, host, ours, i);
    if (differences.length === 0 || (await strayed(ours, i, oracle))) continue;
    print(`MISMATCH in state ${i} of ${count}: ${hexBytes(Uint8Array.from(code))}   ${text(Uint8Array.from(code))}`);
    print(list(differences));
    print(describeCase(cases, i).replace(/^/gm, '  '));
    const why = subject.detail(i);
    if (why) print(why);
    return false;
  }
  print(`${count} states agree on ${hexBytes(Uint8Array.from(code))}   ${text(Uint8Array.from(code))}`);
  return true;
}

async function main(): Promise<boolean> {
  if (values.help) {
    print(HELP);
    return true;
  }
  const missing = oracleMissing();
  if (missing) fail(missing);
  if (values.forms) {
    const { forms, excluded } = formsOf();
    for (const { key } of forms) print(key);
    for (const { row, reason } of excluded)
      print(`excluded: ${row.encoding} ${row.mnemonic} ${row.operands.join(',')}: ${reason}`);
    return true;
  }
  const make = SUBJECTS[values.tier];
  if (!make) fail(`no tier "${values.tier}"; there are ${Object.keys(SUBJECTS).join(', ')}`);
  const seed = number('seed', Date.now() % 1_000_000);
  const oracle = new Oracle();
  const subject = make.make();
  try {
    if (values.bytes !== undefined) return await fixedBytes(values.bytes, oracle, subject, seed);
    const forms = selected();
    const cases = number('cases', 1_000_000);
    const keep = number('keep', 1) || Number.POSITIVE_INFINITY;
    print(`${cases} cases over ${forms.length} forms, seed ${seed}, ${values.tier} against ${hostVendor()}`);
    const started = performance.now();
    let shown = started;
    const report = await fuzz({
      seed,
      cases,
      oracle,
      subject,
      forms,
      ...(values.flow && { flow: true }),
      firstRound: number('round', 0),
      stopAfter: keep,
      progress(done, mismatches) {
        const now = performance.now();
        if (now - shown < 5000) return;
        shown = now;
        print(
          `  ${done} cases, ${Math.round((done / (now - started)) * 1000)} a second, ${mismatches} forms with mismatches`,
        );
      },
    });
    const full = values.verbose ? report.mismatches : report.mismatches.slice(0, 1);
    for (const mismatch of full) showMismatch(await shrink(mismatch, oracle, subject), seed);
    for (const { form, bytes, differences } of report.mismatches.slice(full.length, 400)) {
      print(
        `also: ${form.key}   ${hexBytes(bytes)}   ${text(bytes)}   differs in ${differences.map(({ field }) => field).join(', ')}`,
      );
    }
    showCoverage(report);
    const seconds = (performance.now() - started) / 1000;
    print(
      `\n${report.compared} of ${report.cases} cases compared in ${seconds.toFixed(1)} s; ${report.mismatches.length} forms mismatched`,
    );
    // What nobody compared counts as missing.
    const compared = [...report.coverage.values()].every(({ cases: count, unsupported }) => count > 0 && !unsupported);
    return report.mismatches.length === 0 && compared;
  } finally {
    oracle.close();
    subject.close();
  }
}

process.exitCode = (await main()) ? 0 : 1;
