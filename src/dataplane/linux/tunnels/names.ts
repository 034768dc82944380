/** The tunnel devices, as Felix calls them: what is found under these names is taken over. */
import type { IpFamily } from "#ip";

export const VXLAN_DEVICES: Readonly<Record<IpFamily, string>> = {
  4: "vxlan.calico",
  6: "vxlan-v6.calico",
};
export const IPIP_DEVICE = "tunl0";

/** Those where everything is ours. */
export const TUNNEL_DEVICES: ReadonlySet<string> = new Set(Object.values(VXLAN_DEVICES));

/** Bytes that a packet grows by. */
export const VXLAN_OVERHEAD: Readonly<Record<IpFamily, number>> = { 4: 50, 6: 70 };
export const IPIP_OVERHEAD = 20;
