/** Which Xen this is to its guests (XENVER_*, pv-abi 2.9) and to those who ask `xm info`. */
export const XEN_VERSION = { major: 4, minor: 17, extra: '.0' } as const;
export const XEN_CAPABILITIES = 'xen-3.0-x86_64';
export const XEN_CHANGESET = 'unavailable';
export const XEN_COMPILE_INFO = { compiler: 'TypeScript', by: 'domus', domain: 'domus', date: '' } as const;
