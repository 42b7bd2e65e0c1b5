"""Put the chest X-rays of Montgomery County and Shenzhen into the layout of the cross-domain benchmark."""
from mmfss.commands.dataset_converters.lung import main

if __name__ == '__main__':
    main()
