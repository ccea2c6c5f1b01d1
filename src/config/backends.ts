/** The kinds of backends that Xen 2.0 could let a domain be. */
export const BACKENDS = ['blkif', 'netif'] as const;
