// Verify_log checks a log with the verifiers of the Go checksum database (golang.org/x/mod/sumdb), which know nothing of Yitong.
//
//	verify_log log DIRECTORY VKEY          a whole tlog-tiles directory: signature, every entry, every tile, proofs
//	verify_log proof FILE ENTRY VKEY       one .tlog-proof for the entry in the file ENTRY
//
// It prints what it accepted and exits with 0, or says the first thing that is wrong and exits with 1.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

func main() {
	var accepted string
	err := errors.New("usage: verify_log log DIRECTORY VKEY | verify_log proof FILE ENTRY VKEY")
	switch {
	case len(os.Args) == 4 && os.Args[1] == "log":
		accepted, err = verifyLog(directory(os.Args[2]), os.Args[3])
	case len(os.Args) == 5 && os.Args[1] == "proof":
		accepted, err = verifyProof(os.Args[2], os.Args[3], os.Args[4])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rejected:", err)
		os.Exit(1)
	}
	fmt.Println("accepted:", accepted)
}

// directory is a static tlog-tiles log; tlog knows it as a TileReader.
type directory string

func (d directory) Height() int { return tileHeight }

func (d directory) SaveTiles([]tlog.Tile, [][]byte) {}

func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var contents [][]byte
	for _, tile := range tiles {
		content, err := d.read(tile, "tile/8/", "tile/")
		if err != nil {
			return nil, err
		}
		contents = append(contents, content)
	}
	return contents, nil
}

// read maps a path of the checksum database, tile/8/<L>/<N>, to that of C2SP, tile/<L>/<N>.
func (d directory) read(tile tlog.Tile, replaced, prefix string) ([]byte, error) {
	path := prefix + strings.TrimPrefix(tile.Path(), replaced)
	return os.ReadFile(filepath.Join(string(d), path))
}

// bundle reads the entries of the n-th entry bundle, of which there must be exactly width.
func (d directory) bundle(n int64, width int) ([][]byte, error) {
	rest, err := d.read(tlog.Tile{H: tileHeight, L: 0, N: n, W: width}, "tile/8/0/", "tile/entries/")
	var entries [][]byte
	for err == nil && len(rest) > 0 {
		if len(rest) < 2 || len(rest) < 2+int(binary.BigEndian.Uint16(rest)) {
			return nil, fmt.Errorf("bundle %d is cut short", n)
		}
		end := 2 + int(binary.BigEndian.Uint16(rest))
		entries, rest = append(entries, rest[2:end]), rest[end:]
	}
	if err == nil && len(entries) != width {
		err = fmt.Errorf("bundle %d has %d entries instead of %d", n, len(entries), width)
	}
	return entries, err
}

// openCheckpoint verifies a checkpoint's signature and reads its size and root.
func openCheckpoint(raw []byte, vkey string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func verifyLog(log directory, vkey string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(string(log), "checkpoint"))
	if err != nil {
		return "", err
	}
	tree, err := openCheckpoint(raw, vkey)
	if err != nil {
		return "", err
	}
	hashes := tlog.TileHashReader(tree, log)
	if err := verifyEntries(log, tree, hashes); err != nil {
		return "", err
	}
	if err := verifyProofs(tree, hashes); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d entries, root %v", tree.N, tree.Hash), nil
}

// verifyEntries holds every entry against its leaf hash; the reader holds every tile that it needs for them against the root.
func verifyEntries(log directory, tree tlog.Tree, hashes tlog.HashReader) error {
	for start := int64(0); start < tree.N; start += 1 << tileHeight {
		width := min(tree.N-start, 1<<tileHeight)
		entries, err := log.bundle(start>>tileHeight, int(width))
		if err != nil {
			return err
		}
		var indexes []int64
		for i := range entries {
			indexes = append(indexes, tlog.StoredHashIndex(0, start+int64(i)))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != leaves[i] {
				return fmt.Errorf("entry %d is not the one in the tree", start+int64(i))
			}
		}
	}
	return nil
}

// verifyProofs makes and checks inclusion and consistency proofs from the tiles, for a hundred places spread over the log.
func verifyProofs(tree tlog.Tree, hashes tlog.HashReader) error {
	for index := int64(0); index < tree.N; index += tree.N/100 + 1 {
		leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return err
		}
		inclusion, err := tlog.ProveRecord(tree.N, index, hashes)
		if err == nil {
			err = tlog.CheckRecord(inclusion, tree.N, tree.Hash, index, leaf[0])
		}
		if err != nil {
			return fmt.Errorf("inclusion of %d: %w", index, err)
		}
		old, err := tlog.TreeHash(index+1, hashes)
		if err != nil {
			return err
		}
		consistency, err := tlog.ProveTree(tree.N, index+1, hashes)
		if err == nil {
			err = tlog.CheckTree(consistency, tree.N, tree.Hash, index+1, old)
		}
		if err != nil {
			return fmt.Errorf("consistency with %d: %w", index+1, err)
		}
	}
	return nil
}

func verifyProof(proofFile, entryFile, vkey string) (string, error) {
	raw, err := os.ReadFile(proofFile)
	if err != nil {
		return "", err
	}
	entry, err := os.ReadFile(entryFile)
	if err != nil {
		return "", err
	}
	head, checkpoint, found := bytes.Cut(raw, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return "", errors.New("not a .tlog-proof")
	}
	tree, err := openCheckpoint(checkpoint, vkey)
	if err != nil {
		return "", err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return "", err
	}
	var path tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return "", err
		}
		path = append(path, hash)
	}
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return "", err
	}
	return fmt.Sprintf("entry %d of %d", index, tree.N), nil
}
