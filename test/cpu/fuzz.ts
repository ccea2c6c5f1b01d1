/**
 * The comparison loop: cases from the generator go to the host's CPU and to a subject, the judge compares, and what was covered
 * is counted per instruction form.
 */
import { SEMANTICS } from '../../src/translate/semantics/index.ts';
import { fillBlock } from './blocks.ts';
import { compareOutcomes, type Difference, describeCase, nothingUndefined, vectorName } from './compare.ts';
import { branchesAnywhere, fillFlow } from './flow.ts';
import { type Form, formsOf } from './forms.ts';
import { fillCase, insnAt, insnOf } from './generate.ts';
import { KNOWN, type Known } from './known.ts';
import { CASE, COMPLETED, ENDLESS, GIVEN_UP, OUTCOME, UNSUPPORTED } from './layout.ts';
import type { Oracle } from './oracle.ts';
import { Random } from './random.ts';
import type { Subject } from './subject.ts';
import { undefinedFor } from './undefined.ts';

export interface Mismatch {
  readonly form: Form;
  readonly round: number;
  readonly bytes: Uint8Array;
  readonly differences: Difference[];
  /** State before, ready to print. */
  readonly state: string;
  /** The case itself, for shrinking and for the oracle to run again. */
  readonly record: Uint8Array;
}

export interface Coverage {
  cases: number;
  completed: number;
  faulted: number;
  mismatched: number;
  /** In how many of them the subject had made a region of the code, the instruction with it. */
  translated: number;
  /** Why the subject could not run it, when it could not. */
  unsupported?: string;
}

export interface FuzzOptions {
  readonly seed: number;
  readonly cases: number;
  readonly oracle: Oracle;
  readonly subject: Subject;
  readonly forms?: readonly Form[];
  /** Each instruction in a program with control flow of chance, instead of alone. */
  readonly flow?: boolean;
  /** First round: with one form and one case this repeats a single case of an earlier run. */
  readonly firstRound?: number;
  /** Keep this many mismatches in full (one per form), and stop after `stopAfter` forms mismatched. */
  readonly stopAfter?: number;
  readonly progress?: (done: number, mismatches: number) => void;
}

export interface FuzzReport {
  cases: number;
  compared: number;
  readonly coverage: Map<Form, Coverage>;
  /** How often each row of KNOWN occurred. */
  readonly known: Map<Known, number>;
  /** Cases that differed, but had strayed to memory that only the oracle's process has. */
  strayed: number;
  /** Cases that loop for ever on both sides, or here for longer than anybody waits: of instructions that branch anywhere only. */
  endless: number;
  /** Cases that the oracle did not run. */
  givenUp: number;
  /** The first mismatch of each form. */
  readonly mismatches: Mismatch[];
}

const BATCH = 1000;
const INVALID_OPCODE = 6;
const PAGE_FAULT = 14;

const decodes = (cases: Uint8Array, i: number): boolean =>
  insnOf(new DataView(cases.buffer, cases.byteOffset + i * CASE.size, CASE.size)) !== undefined;

/** A number that names the form whatever else is in the list, so that `--only` repeats the same cases. */
function keyHash(key: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

export function caseRandom(seed: number, form: Form, round: number): Random {
  return new Random(((seed ^ keyHash(form.key)) >>> 0) + 0x1_0000_0000 * ((seed + Math.imul(round, 0x9e3779b1)) >>> 0));
}

export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const { oracle, subject, seed } = options;
  const forms = options.forms ?? formsOf().forms;
  const counts = { cases: 0, compared: 0, strayed: 0, endless: 0, givenUp: 0 };
  const report: FuzzReport = { ...counts, coverage: new Map(), known: new Map(), mismatches: [] };
  for (const form of forms)
    report.coverage.set(form, { cases: 0, completed: 0, faulted: 0, mismatched: 0, translated: 0 });
  const firstRound = options.firstRound ?? 0;
  const stopAfter = options.stopAfter ?? Number.POSITIVE_INFINITY;
  const batches = [0, 1].map(() => new Uint8Array(BATCH * CASE.size));

  const fill = (buffer: Uint8Array, from: number): number => {
    const count = Math.min(BATCH, options.cases - from);
    for (let i = 0; i < count; i++) {
      const index = from + i;
      const form = forms[index % forms.length]!;
      const round = firstRound + Math.floor(index / forms.length);
      const random = caseRandom(seed, form, round);
      if (options.flow) fillFlow(random, form, buffer, i * CASE.size);
      else if (form.block) fillBlock(random, buffer, i * CASE.size);
      else fillCase(random, form, buffer, i * CASE.size);
    }
    return count;
  };

  let from = 0;
  let count = fill(batches[0]!, 0);
  for (let turn = 0; count > 0; turn++) {
    const cases = batches[turn & 1]!;
    // The oracle's process works while this one runs the subject and makes the next batch.
    const pending = oracle.run(cases, count);
    const ours = await subject.run(cases, count);
    const nextFrom = from + count;
    const nextCount = nextFrom < options.cases ? fill(batches[(turn + 1) & 1]!, nextFrom) : 0;
    const host = await pending;
    for (let i = 0; i < count; i++) {
      const index = from + i;
      const form = forms[index % forms.length]!;
      const round = firstRound + Math.floor(index / forms.length);
      await judge(report, form, round, cases, host, ours, i, options);
    }
    from = nextFrom;
    count = nextCount;
    options.progress?.(from, report.mismatches.length);
    if (report.mismatches.length >= stopAfter) break;
  }
  return report;
}

async function judge(
  report: FuzzReport,
  form: Form,
  round: number,
  cases: Uint8Array,
  host: Uint8Array,
  ours: Uint8Array,
  i: number,
  { oracle, subject }: FuzzOptions,
): Promise<void> {
  report.cases++;
  const coverage = report.coverage.get(form)!;
  const hostView = new DataView(host.buffer, host.byteOffset + i * OUTCOME.size, OUTCOME.size);
  const hostVector = hostView.getUint32(OUTCOME.vector, true);
  const ourVector = new DataView(ours.buffer, ours.byteOffset + i * OUTCOME.size).getUint32(OUTCOME.vector, true);
  if (hostVector === GIVEN_UP) {
    report.givenUp++;
    return;
  }
  if (ourVector === ENDLESS && (hostVector === ENDLESS || branchesAnywhere(form))) {
    report.endless++;
    return;
  }
  if (ourVector === UNSUPPORTED) {
    coverage.unsupported ??= subject.detail(i) ?? 'not supported';
    return;
  }
  // #UD for what our decoder knows and the host performs: the engine has no semantics for it yet.
  if (ourVector === INVALID_OPCODE && hostVector !== INVALID_OPCODE && decodes(cases, i)) {
    coverage.unsupported ??= 'the engine raises #UD: it has no semantics for this instruction';
    return;
  }
  const differences = judgeOutcomes(cases, host, ours, i);
  if (differences.length > 0 && (await strayed(ours, i, oracle))) {
    report.strayed++;
    return;
  }
  coverage.cases++;
  report.compared++;
  if (subject.translated?.(i) && SEMANTICS[form.row.mnemonic] !== undefined) coverage.translated++;
  if (hostVector === COMPLETED) coverage.completed++;
  else coverage.faulted++;
  if (differences.length === 0) return;
  const known = knownDifference(cases, hostView, ours, i);
  if (known) {
    report.known.set(known, (report.known.get(known) ?? 0) + 1);
    return;
  }
  if (coverage.mismatched++ > 0) return;
  const record = cases.slice(i * CASE.size, (i + 1) * CASE.size);
  const length = new DataView(record.buffer).getUint32(CASE.codeLength, true);
  report.mismatches.push({
    form,
    round,
    bytes: record.slice(CASE.code, CASE.code + length),
    differences,
    state: describeCase(cases, i),
    record,
  });
}

function knownDifference(cases: Uint8Array, host: DataView, ours: Uint8Array, i: number): Known | undefined {
  const insn = insnOf(new DataView(cases.buffer, cases.byteOffset + i * CASE.size, CASE.size));
  if (!insn) return undefined;
  const view = new DataView(ours.buffer, ours.byteOffset + i * OUTCOME.size, OUTCOME.size);
  return KNOWN.find(({ mnemonics, test }) => mnemonics.includes(insn.mnemonic) && test(host, view, insn));
}

/** The differences between two outcomes of case `i` that the manuals do not allow. */
export function judgeOutcomes(cases: Uint8Array, host: Uint8Array, ours: Uint8Array, i: number): Difference[] {
  const before = new DataView(cases.buffer, cases.byteOffset + i * CASE.size, CASE.size);
  const hostView = new DataView(host.buffer, host.byteOffset + i * OUTCOME.size, OUTCOME.size);
  const insn = insnOf(before);
  // A block: its members are chosen so that only AF can be undefined after it.
  if (insn && before.getUint32(CASE.insnAt, true) === 0 && insn.length < before.getUint32(CASE.codeLength, true)) {
    return compareOutcomes(host, ours, i, { ...nothingUndefined(), flags: 0x10 });
  }
  const skip = insn ? undefinedFor({ insn, before, host: hostView }) : nothingUndefined();
  // Code that is jumped into the middle of has other instructions, one of which may have faulted.
  const at = hostView.getBigUint64(OUTCOME.rip, true) - before.getBigUint64(CASE.rip, true);
  const last = at >= 0n && at < CASE.codeMax ? insnAt(before, Number(at)) : undefined;
  if (last !== undefined && undefinedFor({ insn: last, before, host: hostView }).fault) skip.fault = true;
  return compareOutcomes(host, ours, i, skip);
}

/**
 * Did case `i` end, in our engine, at an address that is mapped in the oracle's process only? There the host's CPU reads, writes
 * or executes what is none of the case's, or refuses it for another reason.
 */
export async function strayed(ours: Uint8Array, i: number, oracle: Pick<Oracle, 'owns'>): Promise<boolean> {
  const view = new DataView(ours.buffer, ours.byteOffset + i * OUTCOME.size, OUTCOME.size);
  const vector = view.getUint32(OUTCOME.vector, true);
  if (vector === PAGE_FAULT) return await oracle.owns(view.getBigUint64(OUTCOME.cr2, true));
  // A branch to where nothing is counts as completed (oracle-child.ts).
  return vector === COMPLETED && (await oracle.owns(view.getBigUint64(OUTCOME.rip, true)));
}

/** Faults and completions of one outcome in words. */
export function outcomeName(outcomes: Uint8Array, i: number): string {
  return vectorName(
    new DataView(outcomes.buffer, outcomes.byteOffset + i * OUTCOME.size).getUint32(OUTCOME.vector, true),
  );
}
