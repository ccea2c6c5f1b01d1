/**
 * Who may do what to a node. The first entry of a node's list names its owner, and with its letter everybody whom no later
 * entry names. The owner and privileged clients may do everything. pv-abi 7.3.
 */

/** Whose requests these are; decided by whoever accepted the connection, never by what the client says. */
export interface Identity {
  readonly domid: number;
  /** Not bound by permissions and quotas, and may introduce domains. */
  readonly privileged: boolean;
  /** A privileged connection that serves this one domain and may name nothing else (see `inScopeOf`). */
  readonly onlyFor?: number;
}

export type Access = 'n' | 'r' | 'w' | 'b';
export interface Permission {
  readonly domid: number;
  readonly access: Access;
}
/** Never empty. */
export type Permissions = readonly Permission[];
export type Need = 'read' | 'write' | 'own';

export const ROOT_PERMISSIONS: Permissions = [{ domid: 0, access: 'n' }];

/** "r7": read for domain 7. */
export function parsePermission(text: string): Permission | undefined {
  const match = /^([nrwb])(\d{1,5})$/.exec(text);
  if (!match || Number(match[2]) > 0xffff) return undefined;
  return { access: match[1] as Access, domid: Number(match[2]) };
}

export const formatPermission = (permission: Permission): string => `${permission.access}${permission.domid}`;

/** A list written as in `xenstore-ls -p`, for code that knows what it writes: "n0,r7". */
export function permissions(text: string): Permissions {
  return text.split(',').map((entry) => {
    const permission = parsePermission(entry);
    if (!permission) throw new Error(`"${entry}" is not a permission: a letter of n, r, w, b and a domain id`);
    return permission;
  });
}

export function allows(list: Permissions, who: Identity, need: Need): boolean {
  const [first, ...others] = list;
  if (who.privileged || first!.domid === who.domid) return true;
  if (need === 'own') return false;
  const { access } = others.find((entry) => entry.domid === who.domid) ?? first!;
  return access === 'b' || access === (need === 'read' ? 'r' : 'w');
}
