package e2e

import "strings"

// standin translates vublk's options for qemu-storage-daemon.
func standin(args []string) []string {
	var exports []map[string]string
	cur := map[string]string{}
	for i, a := range args[1:] {
		if a == "--export" {
			a = "--export=" + args[i+2]
		}
		k, v, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if k == "export" {
			m := map[string]string{}
			for _, kv := range strings.Split(v, ",") {
				k, v, _ := strings.Cut(kv, "=")
				m[k] = v
			}
			exports = append(exports, m)
			continue
		}
		cur[k] = v
	}
	if cur["blk-file"] != "" {
		exports = append(exports, cur)
	}
	argv := []string{"qemu-storage-daemon"}
	for i, e := range exports {
		id := string(rune('a' + i))
		_, ro := e["read-only"]
		w := "on"
		if ro {
			w = "off"
		}
		nq := e["num-queues"]
		if nq == "" {
			nq = "8"
		}
		ex := "type=vhost-user-blk,id=e" + id + ",addr.type=unix,addr.path=" + e["socket-path"] + ",node-name=" + id + ",writable=" + w + ",num-queues=" + nq
		if l := e["logical-block-size"]; l != "" {
			ex += ",logical-block-size=" + l
		}
		r := "off"
		if ro {
			r = "on"
		}
		argv = append(argv, "--blockdev", "driver=file,node-name="+id+",discard=unmap,read-only="+r+",cache.direct=on,filename="+e["blk-file"], "--export", ex)
	}
	return argv
}
