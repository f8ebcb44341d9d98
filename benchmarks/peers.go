// Go's side of the benchmarks that pass values and take turns: ns of CPU per step, on one processor.
//
//	peers channel SIZE COUNT    values from one goroutine to another, through a channel of this size
//	peers ring LENGTH COUNT     values around a ring of goroutines, from channel to channel
//	peers lock THREADS COUNT    goroutines that yield while they hold one mutex
//	peers spawn BATCH COUNT     goroutines that do nothing, started and waited for in batches
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

func cpu() int64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func channel(size, count int) {
	values, done := make(chan int, size), make(chan bool)
	go func() {
		for i := 0; i < count; i++ {
			<-values
		}
		done <- true
	}()
	for i := 0; i < count; i++ {
		values <- i
	}
	<-done
}

func ring(length, count int) {
	links := make([]chan int, length)
	for i := range links {
		links[i] = make(chan int)
	}
	for i := 1; i < length; i++ {
		go func(from, to chan int) {
			for value := range from {
				to <- value
			}
		}(links[i], links[(i+1)%length])
	}
	for i := 0; i < count/length; i++ {
		links[1] <- i
		<-links[0]
	}
}

func lock(threads, count int) {
	var mutex sync.Mutex
	var group sync.WaitGroup
	group.Add(threads)
	for i := 0; i < threads; i++ {
		go func() {
			for turn := 0; turn < count/threads; turn++ {
				mutex.Lock()
				runtime.Gosched()
				mutex.Unlock()
			}
			group.Done()
		}()
	}
	group.Wait()
}

func spawn(batch, count int) {
	for i := 0; i < count/batch; i++ {
		var group sync.WaitGroup
		group.Add(batch)
		for j := 0; j < batch; j++ {
			go group.Done()
		}
		group.Wait()
	}
}

func main() {
	run := map[string]func(int, int){"channel": channel, "ring": ring, "lock": lock, "spawn": spawn}
	size, _ := strconv.Atoi(os.Args[2])
	count, _ := strconv.Atoi(os.Args[3])
	runtime.GOMAXPROCS(1)
	run[os.Args[1]](size, count/10+size)
	began := cpu()
	run[os.Args[1]](size, count)
	fmt.Println(float64(cpu()-began) / float64(count))
}
