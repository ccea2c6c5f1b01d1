/**
 * From opcode to form: the rows spread over slots that the decoder indexes with opcode map, opcode, mandatory prefix,
 * ModRM and REX bits. What no row claims is null and means #UD.
 */
import { Kind } from '../operand.ts';
import { Form, Source } from './form.ts';
import { ROWS } from './index.ts';

/** The forms of one opcode with one mandatory prefix. */
export class Slot {
  readonly hasModrm: boolean;
  /** With ModRM: [2 * (mod == 3 ? 8 + (modrm & 63) : reg) + REX.W]; without: [2 * REX.B + REX.W]. */
  readonly forms: (Form | null)[];

  constructor(hasModrm: boolean) {
    this.hasModrm = hasModrm;
    this.forms = new Array<Form | null>(hasModrm ? 144 : 4).fill(null);
  }
}

export const FORMS: readonly Form[] = ROWS.map((row) => new Form(row));

/** Rows may overlap; the one that says more wins. */
function specificity(form: Form): number {
  const modrm = form.modrm >= 0 ? (form.anyRm ? 2 : 3) : form.digit >= 0 ? 1 : 0;
  const kinds = form.register && form.memory ? 0 : 1;
  return 64 * (form.plusR ? 0 : 1) + 16 * (form.prefix >= 0 ? 1 : 0) + 4 * modrm + 2 * kinds + (form.rexW ? 1 : 0);
}

/** [256 * map + opcode]: its forms, those that say less first. */
function byOpcode(): Form[][] {
  const lists = Array.from({ length: 4 * 256 }, (): Form[] => []);
  for (const form of FORMS) {
    for (let low = 0; low < (form.plusR ? 8 : 1); low++) lists[(form.map << 8) | (form.opcode + low)]!.push(form);
  }
  for (const list of lists) if (list.length > 1) list.sort((a, b) => specificity(a) - specificity(b));
  return lists;
}

const BY_OPCODE = byOpcode();
/** Those that somebody has asked for: most programs use few. */
const known: (Slot | null | undefined)[] = new Array(4 * 256 * 4).fill(undefined);

/** The slot of 4 * (256 * map + opcode) + prefix; null when there is no such instruction. */
export function slotOf(key: number): Slot | null {
  const slot = known[key];
  return slot === undefined ? (known[key] = makeSlot(BY_OPCODE[key >> 2]!, key & 3)) : slot;
}

function makeSlot(forms: readonly Form[], prefix: number): Slot | null {
  const fitting = forms.filter((form) => form.prefix < 0 || form.prefix === prefix);
  if (fitting.length === 0) return null;
  const slot = new Slot(fitting[0]!.hasModrm);
  for (const form of fitting) fill(slot, form);
  return slot;
}

function fill(slot: Slot, form: Form): void {
  if (slot.hasModrm !== form.hasModrm) throw new Error(`${form.row.encoding}: with and without ModRM`);
  for (let w = form.rexW ? 1 : 0; w < 2; w++) {
    if (!form.hasModrm) {
      slot.forms[w] = form;
      if (!form.row.flags.includes('norexb')) slot.forms[2 + w] = form;
      continue;
    }
    for (let reg = 0; reg < 8; reg++) {
      if (!acceptsReg(form, reg)) continue;
      if (form.memory) slot.forms[2 * reg + w] = form;
      if (!form.register) continue;
      for (let rm = 0; rm < 8; rm++) {
        if (form.modrm < 0 || form.anyRm || (form.modrm & 7) === rm) slot.forms[2 * (8 + 8 * reg + rm) + w] = form;
      }
    }
  }
}

function acceptsReg(form: Form, reg: number): boolean {
  if (form.modrm >= 0) return ((form.modrm >> 3) & 7) === reg;
  if (form.digit >= 0) return form.digit === reg;
  // There are six segment registers.
  return reg < 6 || !form.specs.some((spec) => spec.source === Source.Reg && spec.kind === Kind.Seg);
}

/** How many keys slotOf has. */
export const SLOTS = known.length;
