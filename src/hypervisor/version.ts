/**
 * xen_version: who the guest runs on and what it may use. Its operation 0 is also Linux's way of having pending events
 * delivered: doing nothing at all is its point. Follows pv-abi 2.9.
 */
import { Errno } from '../abi/errno.ts';
import { HYPERVISOR_VIRT_START, VMASST, XENFEAT, XENVER } from '../abi/numbers.ts';
import { XEN_COMPILE_INFO as COMPILED, XEN_CAPABILITIES, XEN_CHANGESET, XEN_VERSION } from '../abi/xen-version.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import { PAGE_SIZE } from './memory.ts';
import type { GuestCpu } from './ports.ts';

const VERSION = (XEN_VERSION.major << 16) | XEN_VERSION.minor;
/** What PV domains are told they may use. `pae_pgdir_above_4gb` follows the guest's vm_assist. */
const FEATURES = [
  XENFEAT.mmu_pt_update_preserve_ad,
  XENFEAT.highmem_assist,
  XENFEAT.gnttab_map_avail_bits,
  XENFEAT.memory_op_vnode_supported,
  XENFEAT.direct_mapped,
].reduce((bits, feature) => bits | (1 << feature), 0);

/** Texts with their offsets and array sizes: each array goes out whole, zeros behind the text. */
// biome-ignore format: a table
const TEXTS: Record<number, { size: number; texts: readonly (readonly [number, string])[] }> = {
  [XENVER.extraversion]: { size: 16,   texts: [[0, XEN_VERSION.extra]] },
  [XENVER.compile_info]: { size: 144,  texts: [[0, COMPILED.compiler], [0x40, COMPILED.by], [0x50, COMPILED.domain], [0x70, COMPILED.date]] },
  [XENVER.capabilities]: { size: 1024, texts: [[0, XEN_CAPABILITIES]] },
  [XENVER.changeset]:    { size: 64,   texts: [[0, XEN_CHANGESET]] },
  [XENVER.commandline]:  { size: 1024, texts: [[0, '<denied>']] },
};

function put(vcpu: GuestCpu, args: HypercallArgs, bytes: Uint8Array): number {
  return vcpu.writeGuest(args.u64(1), bytes) ? 0 : -Errno.EFAULT;
}

function getFeatures(vcpu: GuestCpu, args: HypercallArgs): number {
  const bytes = vcpu.readGuest(args.u64(1), 8);
  if (bytes === undefined) return -Errno.EFAULT;
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  if (view.getUint32(0, true) > 0) return -Errno.EINVAL;
  const wide = (vcpu.domain.vmAssist & (1 << VMASST.pae_extended_cr3)) !== 0;
  view.setUint32(4, FEATURES | (wide ? 1 << XENFEAT.pae_pgdir_above_4gb : 0), true);
  return put(vcpu, args, bytes);
}

/** Hypercall 17. */
export function xenVersion(vcpu: GuestCpu, args: HypercallArgs): number {
  const command = args.lo(0);
  switch (command) {
    case XENVER.version:
      return VERSION;
    case XENVER.platform_parameters: {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, HYPERVISOR_VIRT_START, true);
      return put(vcpu, args, bytes);
    }
    case XENVER.get_features:
      return getFeatures(vcpu, args);
    case XENVER.pagesize:
      return args.isZero(1) ? PAGE_SIZE : -Errno.EINVAL;
    case XENVER.guest_handle:
      return put(vcpu, args, vcpu.domain.uuid.slice(0, 16));
    case XENVER.build_id:
      return -Errno.ENODATA;
  }
  const row = TEXTS[command];
  if (row === undefined) return -Errno.ENOSYS;
  const bytes = new Uint8Array(row.size);
  for (const [at, text] of row.texts)
    bytes.set(
      Uint8Array.from(text, (char) => char.charCodeAt(0)),
      at,
    );
  return put(vcpu, args, bytes);
}
